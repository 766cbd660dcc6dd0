// A turn as a person follows it in a terminal: thinking, calls, live output, diffs, one status
// line.
#include "ui/terminal.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ui/plain_text.h"
#include "ui/terminal_rows.h"

namespace fathom::ui {

namespace {

// Redrawing more often than this shows nobody more and keeps a slow terminal busy.
constexpr std::int64_t kFrameMs = 33;
constexpr std::size_t kTailBytes = 4096;  // of growing text: more than a live region can show
constexpr int kThinkingRows = 6;
constexpr int kOutputRows = 5;

// Every text in `fields` in ASCII.
void make_ascii(nlohmann::ordered_json& fields) {
  if (fields.is_string()) fields = ascii(fields.get<std::string>());
  if (!fields.is_structured()) return;
  for (nlohmann::ordered_json& field : fields) make_ascii(field);
}

}  // namespace

// The state behind the rows. One mutex guards all of it: events come from the turn's thread and
// ticks from a timer's.
class Terminal::View {
 public:
  explicit View(TerminalOptions options) : options_(std::move(options)), screen_(options_.screen) {}

  void event(const agent::Event& event) {
    const std::scoped_lock lock(mutex_);
    if (options_.screen.utf8) {
      take(event);
      return;
    }
    agent::Event shown = event;
    make_ascii(shown.fields);
    take(shown);
  }

  void delta(const agent::Delta& delta) {
    const std::scoped_lock lock(mutex_);
    if (delta.item != item_) tail_.clear();
    item_ = delta.item;
    kind_ = delta.kind;
    tail_ += options_.screen.utf8 ? delta.text : ascii(delta.text);
    lines_ += static_cast<int>(std::ranges::count(delta.text, '\n'));
    if (tail_.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
    draw(/*always=*/false);
  }

  void live(const agent::Live& live) {
    const std::scoped_lock lock(mutex_);
    if (live.phase != live_.phase) phase_began_ms_ = options_.now_ms();
    live_ = live;
    draw(/*always=*/false);
  }

  void tick() {
    const std::scoped_lock lock(mutex_);
    draw(/*always=*/false);
  }

  void finish() {
    const std::scoped_lock lock(mutex_);
    finished_ = true;
    screen_.clear();
  }

 private:
  void take(const agent::Event& event) {
    apply(event);
    const RowContext context{.columns = screen_.columns(),
                             .live = screen_.live(),
                             .verbose = options_.verbose,
                             .answer = options_.answer};
    screen_.commit(rows_of(event, call_of(event), context));
    if (event.type == "outcome") end_call(event);
    draw(/*always=*/true);
  }

  void apply(const agent::Event& event) {
    if (event.type == "call") {
      calls_.push_back(event.fields);
      lines_ = 0;
      phase_began_ms_ = options_.now_ms();
    }
    if (event.type == "step") calls_.clear();
    if (event.type == "thinking" || event.type == "text" || event.type == "outcome" ||
        event.type == "call") {
      tail_.clear();
      item_.clear();
    }
    if (event.type == "result") finished_ = true;
  }

  // All calls of a step are told before the first of them runs.
  auto place_of(const agent::Event& outcome) const {
    const auto number = outcome.fields.find("call");
    return std::ranges::find_if(calls_, [&](const nlohmann::ordered_json& call) {
      const auto own = call.find("call");
      return number == outcome.fields.end() || own == call.end() || *own == *number;
    });
  }

  nlohmann::ordered_json call_of(const agent::Event& event) const {
    const auto call = event.type == "outcome" ? place_of(event) : calls_.end();
    return call == calls_.end() ? nlohmann::ordered_json::object() : *call;
  }

  void end_call(const agent::Event& outcome) {
    if (const auto call = place_of(outcome); call != calls_.end()) calls_.erase(call);
    if (calls_.empty()) live_.phase = "prefill";  // of the outcomes: what comes next
    lines_ = 0;
    phase_began_ms_ = options_.now_ms();
  }

  void draw(bool always) {
    if (!screen_.live()) return;
    if (finished_) {
      screen_.clear();
      return;
    }
    const std::int64_t now = options_.now_ms();
    if (!always && now - drawn_ms_ < kFrameMs) return;
    drawn_ms_ = now;
    screen_.show(live_rows(static_cast<double>(now - phase_began_ms_) / 1000));
  }

  std::vector<Row> live_rows(double seconds) const {
    std::vector<Row> rows;
    if (live_.phase == "thinking") {
      rows.push_back(
          {{fmt::format("◐ thinking {:.1f} s · {} tokens", seconds, live_.thinking_tokens),
            Style::plain}});
      append_tail(rows, "░   ", kThinkingRows);
    } else if (live_.phase == "writing") {
      append_tail(rows, "", kThinkingRows);
    } else if (live_.phase == "running") {
      rows.push_back({{fmt::format("◐ {}   {:.1f} s · {} {}", running_title(), seconds, lines_,
                                   lines_ == 1 ? "line" : "lines"),
                       Style::plain}});
      append_tail(rows, "    ", kOutputRows);
    }
    rows.push_back(status_row(live_, screen_.columns()));
    return rows;
  }

  // Calls run one after another, so the first without an outcome is the one that runs. Without any
  // it is what the user gave to verify the answer.
  std::string running_title() const {
    return calls_.empty() ? "verify" : call_title(calls_.front());
  }

  void append_tail(std::vector<Row>& rows, const std::string& margin, int count) const {
    const int width = std::max(std::min(screen_.columns(), 100) - cells(margin) - 1, 1);
    const std::vector<std::string> lines = wrap(visible(tail_), width);
    const auto shown = std::min<std::ptrdiff_t>(std::ssize(lines), count);
    for (auto line = lines.end() - shown; line != lines.end(); ++line) {
      rows.push_back({{margin + *line, Style::dim}});
    }
  }

  const TerminalOptions options_;

  // Guarded by mutex_:
  std::mutex mutex_;
  Screen screen_;
  agent::Live live_;
  std::vector<nlohmann::ordered_json> calls_;  // those of the step that have no outcome yet
  std::string item_;                           // the item that grows
  std::string kind_;
  std::string tail_;  // its end
  int lines_ = 0;     // of the running call's output
  std::int64_t phase_began_ms_ = 0;
  std::int64_t drawn_ms_ = 0;
  bool finished_ = false;
};

Terminal::Terminal(TerminalOptions options) : view_(std::make_unique<View>(std::move(options))) {}

Terminal::~Terminal() = default;

void Terminal::event(const agent::Event& event) {
  view_->event(event);
}

void Terminal::delta(const agent::Delta& delta) {
  view_->delta(delta);
}

void Terminal::live(const agent::Live& live) {
  view_->live(live);
}

void Terminal::tick() {
  view_->tick();
}

void Terminal::finish() {
  view_->finish();
}

}  // namespace fathom::ui
