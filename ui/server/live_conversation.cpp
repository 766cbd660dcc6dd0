// Keeps what a conversation has said, and cuts frames from a client's cursor to now.
#include "ui/server/live_conversation.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ui/server/events_on_the_wire.h"

namespace fathom::ui {

namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

// Shares of one frame: stored events first, then a piece of each open item in turn.
constexpr std::size_t kEventBytesMax = 128 << 10;
constexpr std::size_t kDeltaBytesMax = 32 << 10;

// A reader this far behind gets the last words instead of everything.
constexpr std::int64_t kBehindMax = 256 << 10;
constexpr std::int64_t kSkipKeeps = 16 << 10;

// With Detail::tail: a glance, as often as an eye follows.
constexpr std::int64_t kTailBytes = 160;
constexpr milliseconds kTailEvery{250};
constexpr milliseconds kLiveEvery{250};

constexpr int kStepsAtFirst = 40;

}  // namespace

LiveConversation::LiveConversation(std::string id, std::function<void()> changed)
    : id_(std::move(id)), changed_(std::move(changed)) {
  live_.phase = "idle";
}

void LiveConversation::extend(const std::vector<std::string>& lines) {
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t n = events_.size(); n < lines.size(); ++n) store(Json::parse(lines[n]));
  }
  changed_();
}

void LiveConversation::begin_turn() {
  {
    const std::lock_guard lock(mutex_);
    running_ = true;
  }
  changed_();
}

void LiveConversation::event(const agent::Event& event) {
  {
    const std::lock_guard lock(mutex_);
    if (event.n == std::ssize(events_)) store(event.json());
  }
  changed_();
}

// The stored event carries the whole text, so the item it closes is open no longer.
void LiveConversation::store(const Json& event) {
  const std::string type = event.value("type", "");
  const std::string cause = type == "turn" ? event.value("cause", "") : "";
  if (!cause.empty()) causes_[cause] = std::ssize(events_);
  open_.erase(item_closed_by(event));
  if (type == "result") open_.clear();
  if (type == "step") step_ends_.push_back(std::ssize(events_));
  WireEvent wire = wire_event(event);
  events_.push_back({.line = std::move(wire.line), .wire = std::move(wire.shortened)});
}

void LiveConversation::delta(const agent::Delta& delta) {
  {
    const std::lock_guard lock(mutex_);
    Item& item = open_[delta.item];
    if (item.kind.empty()) {
      item = {.kind = delta.kind,
              .turn = delta.turn,
              .step = delta.step,
              .call = delta.call,
              .t = 0,
              .text = {}};
    }
    item.text += valid_utf8(delta.text);
  }
  changed_();
}

void LiveConversation::live(const agent::Live& live) {
  {
    const std::lock_guard lock(mutex_);
    change_phase(live);
  }
  changed_();
}

// mutex_ is held.
void LiveConversation::change_phase(const agent::Live& live) {
  if (live.phase != live_.phase || live.step != live_.step) phase_began_ = Clock::now();
  live_ = live;
  ++live_version_;
}

void LiveConversation::stopping() {
  {
    const std::lock_guard lock(mutex_);
    agent::Live stopping = live_;
    stopping.phase = "stopping";
    change_phase(stopping);
  }
  changed_();
}

void LiveConversation::end_turn() {
  {
    const std::lock_guard lock(mutex_);
    open_.clear();
    running_ = false;
    live_.phase = "idle";
    ++live_version_;
  }
  changed_();
}

std::int64_t LiveConversation::head() const {
  const std::lock_guard lock(mutex_);
  return std::ssize(events_) - 1;
}

std::optional<std::int64_t> LiveConversation::turn_caused_by(const std::string& command) const {
  const std::lock_guard lock(mutex_);
  const auto found = causes_.find(command);
  return found == causes_.end() ? std::nullopt : std::optional(found->second);
}

bool LiveConversation::running() const {
  const std::lock_guard lock(mutex_);
  return running_;
}

Detail LiveConversation::detail(const Cursor& cursor, const Item& item) const {
  if (item.kind == "thinking") return cursor.want.thinking;
  if (item.kind == "output") return cursor.want.output;
  return Detail::full;
}

std::vector<std::string> LiveConversation::cut(Cursor& cursor, Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> frames;
  const auto add = [&](std::optional<std::string> frame) {
    if (frame) frames.push_back(std::move(*frame));
  };
  add(cut_events(cursor));
  // Deltas belong to what comes after the stored events: they wait until those are all sent.
  if (cursor.n + 1 >= std::ssize(events_)) add(cut_deltas(cursor, now));
  add(cut_live(cursor, now));
  return frames;
}

std::optional<std::string> LiveConversation::cut_events(Cursor& cursor) const {
  if (cursor.n + 1 >= std::ssize(events_)) return std::nullopt;
  std::string frame = fmt::format(R"({{"f":"ev","conversation":{},"list":[)", json_string(id_));
  const std::size_t empty = frame.size();
  while (cursor.n + 1 < std::ssize(events_)) {
    const Stored& next = events_[static_cast<std::size_t>(cursor.n + 1)];
    const std::string& line = next.wire.empty() ? next.line : next.wire;
    if (frame.size() > empty && frame.size() + line.size() > kEventBytesMax) break;
    if (frame.size() > empty) frame += ',';
    frame += line;
    ++cursor.n;
  }
  // What closed is known from its event; a cursor keeps only what is open.
  std::erase_if(cursor.items, [&](const auto& held) { return !open_.contains(held.first); });
  return frame += "]}";
}

std::optional<std::string> LiveConversation::cut_deltas(Cursor& cursor,
                                                        Clock::time_point now) const {
  if (open_.empty()) return std::nullopt;
  const std::string start =
      fmt::format(R"({{"f":"d","conversation":{},"list":[)", json_string(id_));
  std::string frame = start;

  // Round robin: on from the item after the one that was served last.
  auto at = open_.upper_bound(cursor.last_item);
  for (std::size_t count = 0; count < open_.size(); ++count, ++at) {
    if (at == open_.end()) at = open_.begin();
    const auto& [name, item] = *at;
    Cursor::Item& held = cursor.items[name];
    const auto size = static_cast<std::int64_t>(item.text.size());
    const Detail wanted = detail(cursor, item);
    // A client cannot hold more than there is: what it claims beyond is from another process.
    held.at = std::min(held.at, size);
    if (wanted == Detail::none || held.at == size) continue;
    if (wanted == Detail::tail && now < held.next_tail) continue;

    std::int64_t from = held.at;
    if (wanted == Detail::tail) from = std::max(from, size - kTailBytes);
    if (size - held.at > kBehindMax) from = std::max(from, size - kSkipKeeps);
    from = static_cast<std::int64_t>(character_border(item.text, static_cast<std::size_t>(from)));
    const auto to = static_cast<std::int64_t>(
        character_border(item.text, static_cast<std::size_t>(from) + kDeltaBytesMax));
    const std::string text = json_string(std::string_view(item.text).substr(
        static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)));
    if (frame.size() > start.size() && frame.size() + text.size() > kEventBytesMax) break;

    if (frame.size() > start.size()) frame += ',';
    frame += fmt::format(R"({{"i":{},"at":{})", json_string(name), held.at);
    if (from > held.at) frame += fmt::format(R"(,"skip":{})", from - held.at);
    if (!held.introduced) {
      frame += fmt::format(R"(,"kind":{},"turn":{},"step":{},"call":{})", json_string(item.kind),
                           item.turn, item.step, item.call);
      held.introduced = true;
    }
    frame += fmt::format(R"(,"s":{}}})", text);
    held.at = to;
    held.next_tail = now + kTailEvery;
    cursor.last_item = name;
  }
  if (frame.size() == start.size()) return std::nullopt;
  return frame += "]}";
}

std::optional<std::string> LiveConversation::cut_live(Cursor& cursor, Clock::time_point now) const {
  if (cursor.live_version == live_version_ || now < cursor.next_live) return std::nullopt;
  cursor.live_version = live_version_;
  cursor.next_live = now + kLiveEvery;
  const auto elapsed = std::chrono::duration_cast<milliseconds>(Clock::now() - phase_began_);
  return live_frame(id_, live_, elapsed.count());
}

std::optional<Clock::time_point> LiveConversation::due(const Cursor& cursor) const {
  const std::lock_guard lock(mutex_);
  std::optional<Clock::time_point> due;
  const auto at = [&](Clock::time_point time) { due = due ? std::min(*due, time) : time; };
  if (cursor.n + 1 < std::ssize(events_)) at(Clock::time_point::min());
  if (cursor.live_version != live_version_) at(cursor.next_live);
  for (const auto& [name, item] : open_) {
    const auto held = cursor.items.find(name);
    const Detail wanted = detail(cursor, item);
    if (wanted == Detail::none || item.text.empty()) continue;
    if (held == cursor.items.end()) {
      at(Clock::time_point::min());
    } else if (held->second.at < static_cast<std::int64_t>(item.text.size())) {
      at(wanted == Detail::tail ? held->second.next_tail : Clock::time_point::min());
    }
  }
  return due;
}

Cursor LiveConversation::cursor_for(const Subscription& subscription) const {
  const std::lock_guard lock(mutex_);
  Cursor cursor;
  cursor.want = subscription.want;
  cursor.n = std::min<std::int64_t>(subscription.n, std::ssize(events_) - 1);
  for (const auto& [item, held] : subscription.open) {
    const auto open = open_.find(item);
    if (open == open_.end()) continue;
    // A claim that cuts a character would cut our next piece too.
    const auto at = character_border(open->second.text, static_cast<std::size_t>(held));
    cursor.items[item] = {.at = static_cast<std::int64_t>(at), .introduced = true, .next_tail = {}};
  }
  if (subscription.n >= 0) return cursor;

  const int steps = static_cast<int>(step_ends_.size());
  const int first = subscription.from_step.value_or(std::max(0, steps - kStepsAtFirst));
  if (first > 0 && steps > 0) {
    cursor.n = step_ends_[static_cast<std::size_t>(std::min(first, steps) - 1)];
  }
  return cursor;
}

std::string LiveConversation::lines(std::int64_t from, std::int64_t to) const {
  const std::lock_guard lock(mutex_);
  std::string lines;
  const std::int64_t end = std::min<std::int64_t>(to + 1, std::ssize(events_));
  for (std::int64_t n = std::max<std::int64_t>(from, 0); n < end; ++n) {
    lines += events_[static_cast<std::size_t>(n)].line;
    lines += '\n';
  }
  return lines;
}

std::int64_t LiveConversation::first_event_of_step(int step) const {
  const std::lock_guard lock(mutex_);
  if (step <= 0) return 0;
  if (step > std::ssize(step_ends_)) return std::ssize(events_);
  return step_ends_[static_cast<std::size_t>(step - 1)] + 1;
}

std::optional<std::string> LiveConversation::item_text(const std::string& item) const {
  const std::lock_guard lock(mutex_);
  if (const auto open = open_.find(item); open != open_.end()) return open->second.text;
  std::optional<std::string> text;
  for (const Stored& stored : events_) {
    const Json event = Json::parse(stored.line);
    if (item_closed_by(event) != item) continue;
    // What a command printed may come in pieces; its outcome, cut for the model, only fills in.
    if (text && event.value("type", "") == "outcome") continue;
    text = text.value_or("") + text_of_item(event);
  }
  return text;
}

std::string LiveConversation::step_index() const {
  const std::lock_guard lock(mutex_);
  StepIndex index;
  for (const Stored& stored : events_) index.add(Json::parse(stored.line));
  return index.json();
}

}  // namespace fathom::ui
