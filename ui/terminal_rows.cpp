// What each event looks like as finished rows of a terminal.
#include "ui/terminal_rows.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ui/plain_text.h"

namespace fathom::ui {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kBodyColumns = 100;   // wider lines are hard to read
constexpr int kFailedLines = 10;    // of a failed call: its end says what went wrong
constexpr int kSucceededLines = 5;  // with --verbose
constexpr int kDiffLines = 20;
constexpr int kThinkingLines = 12;  // where nothing can be unfolded later

std::string text_of(const Json& fields, const char* key) {
  const auto found = fields.find(key);
  return found != fields.end() && found->is_string() ? found->get<std::string>() : "";
}

double number_of(const Json& fields, const char* key) {
  const auto found = fields.find(key);
  return found != fields.end() && found->is_number() ? found->get<double>() : 0;
}

// "1,234"
std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = std::ssize(digits) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string lines_word(std::ptrdiff_t count) {
  return fmt::format("{} {}", count, count == 1 ? "line" : "lines");
}

void append_last_lines(std::vector<Row>& rows, std::string_view text, int count, int columns) {
  const auto lines = split_lines(text);
  const auto left_out = std::max<std::ptrdiff_t>(std::ssize(lines) - count, 0);
  if (left_out > 0) rows.push_back({{fmt::format("      … {}", lines_word(left_out)), Style::dim}});
  for (auto line = lines.begin() + left_out; line != lines.end(); ++line) {
    rows.push_back({{"      " + shorten(visible(*line), columns - 6), Style::dim}});
  }
}

Style diff_style(std::string_view line) {
  if (line.starts_with('+')) return Style::green;
  if (line.starts_with('-')) return Style::red;
  return line.starts_with("@@") ? Style::cyan : Style::plain;
}

// The hunks of a unified diff; its file header repeats what the row above says.
void append_diff(std::vector<Row>& rows, std::string_view diff, int columns) {
  int shown = 0, left_out = 0;
  for (const std::string_view line : split_lines(diff)) {
    if (line.starts_with("---") || line.starts_with("+++") || line.starts_with("diff ") ||
        line.starts_with("index ") || line.starts_with("@@")) {
      continue;
    }
    if (shown == kDiffLines) {
      ++left_out;
      continue;
    }
    rows.push_back({{"    " + shorten(visible(line), columns - 4), diff_style(line)}});
    ++shown;
  }
  if (left_out > 0)
    rows.push_back({{fmt::format("    … {} more", lines_word(left_out)), Style::dim}});
}

struct DiffCount {
  int added = 0;
  int removed = 0;
};

DiffCount count_diff(std::string_view diff) {
  DiffCount count;
  for (const std::string_view line : split_lines(diff)) {
    if (line.starts_with("+++") || line.starts_with("---")) continue;
    count.added += line.starts_with('+') ? 1 : 0;
    count.removed += line.starts_with('-') ? 1 : 0;
  }
  return count;
}

// "user-namespace+mount-namespace+landlock+seccomp" as a person would say it.
std::string layers_in_words(std::string_view tier) {
  std::string words;
  bool namespaces = false;
  while (!tier.empty()) {
    const auto end = std::min(tier.find('+'), tier.size());
    std::string layer(tier.substr(0, end));
    tier.remove_prefix(std::min(end + 1, tier.size()));
    if (layer == "capabilities" || layer.starts_with("seccomp-") || layer.ends_with("-cgroup")) {
      continue;  // of little use to a person; `fathom sandbox doctor` lists every layer
    }
    if (layer.ends_with("-namespace")) {
      if (std::exchange(namespaces, true)) continue;
      layer = "namespaces";
    }
    words += (words.empty() ? "" : " + ") + layer;
  }
  return words;
}

std::vector<Row> start_rows(const Json& fields, int columns) {
  const Json model = fields.value("model", Json::object());
  const Json sandbox = fields.value("sandbox", Json::object());
  std::string file = text_of(model, "file");
  file = file.substr(file.find_last_of('/') + 1);
  std::string line = fmt::format("fathom {} · {} · context {} · {}", text_of(fields, "prog"), file,
                                 grouped(static_cast<std::int64_t>(number_of(model, "context"))),
                                 text_of(fields, "mode"));
  std::vector<Row> rows = {{{visible(line), Style::dim}}};
  const std::string tier = text_of(sandbox, "tier");
  line =
      fmt::format("sandbox: network {} · {}", text_of(sandbox, "network"), layers_in_words(tier));
  const Style style = tier == "off" ? Style::reversed : Style::dim;
  rows.push_back({{shorten(visible(line), columns), style}});
  return rows;
}

std::vector<Row> turn_rows(const Json& fields, int columns) {
  std::vector<Row> rows = {{}};
  std::string margin = "> ";
  for (const std::string& line : wrap(visible(text_of(fields, "text")), columns - 3)) {
    rows.push_back({{margin + line, Style::bold}});
    margin = "  ";
  }
  rows.emplace_back();
  return rows;
}

// Folded to one row where it was seen growing; else its text, since nothing can unfold it.
std::vector<Row> thinking_rows(const Json& fields, const RowContext& context, int columns) {
  const std::string text = visible(text_of(fields, "text"));
  std::string head = fmt::format("· thought {:.1f} s · {} tokens", number_of(fields, "seconds"),
                                 static_cast<int>(number_of(fields, "tokens")));
  const std::string ended = text_of(fields, "ended");
  if (!ended.empty() && ended != "model") head += " · stopped: " + visible(ended);
  if (context.live) {
    const auto lines = split_lines(text);
    if (!lines.empty()) head += fmt::format(" — {}", lines.front());
    return {{{shorten(head, columns), Style::dim}}};
  }
  std::vector<Row> rows = {{{head, Style::dim}}};
  const auto lines = wrap(text, columns - 4);
  const auto shown = std::min<std::ptrdiff_t>(std::ssize(lines), kThinkingLines);
  for (auto line = lines.begin(); line != lines.begin() + shown; ++line) {
    rows.push_back({{"░   " + *line, Style::dim}});
  }
  if (shown < std::ssize(lines)) {
    rows.push_back(
        {{fmt::format("░   … {} more", lines_word(std::ssize(lines) - shown)), Style::dim}});
  }
  return rows;
}

std::vector<Row> text_rows(const Json& fields, int columns) {
  std::vector<Row> rows;
  for (std::string& line : wrap(visible(text_of(fields, "text")), columns)) {
    rows.push_back({{std::move(line), Style::plain}});
  }
  return rows;
}

// "✗ exit 1  0.1 s", "✓ 0.1 s", "⛔ denied", "⏱ stopped"
Span verdict(const Json& fields) {
  const std::string status = text_of(fields, "status");
  const std::string seconds = fmt::format("{:.1f} s", number_of(fields, "seconds"));
  if (status == "denied") return {"⛔ denied  " + seconds, Style::magenta};
  if (status == "timeout") return {"✗ stopped  " + seconds, Style::red};
  if (status == "invalid") return {"✗ not run", Style::yellow};
  const Json exit = fields.value("exit", Json());
  if (status == "ok") return {exit.is_number() ? "✓ exit 0  " + seconds : "✓", Style::green};
  if (exit.is_number()) {
    return {fmt::format("✗ exit {}  {}", exit.get<int>(), seconds), Style::red};
  }
  return {"✗ failed", Style::red};
}

std::string diff_of(const Json& fields) {
  std::string diff;
  for (const Json& file : fields.value("files", Json::array())) diff += text_of(file, "diff");
  return diff;
}

// The outcome's text without its header line, which repeats the call.
std::string_view body_of(std::string_view text) {
  const auto end = text.find('\n');
  return end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
}

std::vector<Row> outcome_rows(const Json& fields, const Json& call, const RowContext& context,
                              int columns) {
  const std::string text = text_of(fields, "text");
  const std::string diff = diff_of(fields);
  Span end = verdict(fields);
  if (!diff.empty()) {
    const DiffCount count = count_diff(diff);
    end = {fmt::format("+{} −{}", count.added, count.removed), Style::green};
  }
  std::string title = "  " + call_title(call);
  const int room = columns - cells(end.text) - 2;
  title = shorten(title, room);
  title.append(static_cast<std::size_t>(std::max(room - cells(title), 0) + 2), ' ');
  std::vector<Row> rows = {{{title, Style::plain}, end}};
  if (!diff.empty()) {
    append_diff(rows, diff, columns);
    return rows;
  }
  const std::string status = text_of(fields, "status");
  if (status == "denied") return rows;  // an event of its own says what and why
  const bool failed = status != "ok";
  const bool command = text_of(call, "tool") == "run_command";
  // Errors of other tools are the header line itself.
  const std::string_view body = command ? body_of(text) : std::string_view(text);
  if (failed) append_last_lines(rows, body, kFailedLines, columns);
  if (!failed && context.verbose) append_last_lines(rows, body_of(text), kSucceededLines, columns);
  return rows;
}

std::vector<Row> denied_rows(const Json& fields, int columns) {
  std::vector<Row> rows;
  for (const std::string& line : wrap(visible(text_of(fields, "say")), columns - 6)) {
    rows.push_back({{"      " + line, Style::magenta}});
  }
  const auto count = static_cast<int>(number_of(fields, "count"));
  const std::string times = count > 1 ? fmt::format(" · {} times", count) : "";
  const std::string rule = "      rule: " + visible(text_of(fields, "rule")) + times;
  rows.push_back({{shorten(rule, columns), Style::dim}});
  return rows;
}

std::string changed_files(std::string_view patch) {
  std::string out;
  const DiffCount count = count_diff(patch);
  for (const std::string_view line : split_lines(patch)) {
    if (!line.starts_with("+++ ") || line == "+++ /dev/null") continue;
    std::string_view name = line.substr(4);
    if (name.starts_with("b/")) name.remove_prefix(2);
    out += fmt::format("{}{}", out.empty() ? "" : ", ", visible(name));
  }
  return out.empty() ? out : fmt::format(" · {} +{} −{}", out, count.added, count.removed);
}

std::vector<Row> result_rows(const Json& fields, int columns) {
  const Json usage = fields.value("usage", Json::object());
  const auto count = [&](const char* key) {
    return grouped(static_cast<std::int64_t>(number_of(usage, key)));
  };
  const std::string status = text_of(fields, "status");
  std::string word = status;
  if (fields.contains("verify") && fields["verify"].is_object()) {
    const Json& verify = fields["verify"];
    word = status == "answered" ? "answered, verified"
                                : fmt::format("{}: the verify command ended with exit {}", status,
                                              static_cast<int>(number_of(verify, "exit")));
  }
  std::vector<Row> rows = {{}};
  const Json error = fields.value("error", Json());
  if (error.is_object()) {
    for (std::string& line : wrap(visible(text_of(error, "message")), columns)) {
      rows.push_back({{std::move(line), Style::red}});
    }
    const std::string hint = text_of(error, "hint");
    if (!hint.empty()) rows.push_back({{visible(hint), Style::dim}});
  }
  rows.push_back({{word, status == "answered" ? Style::green : Style::red}});
  const int steps = static_cast<int>(number_of(fields, "steps"));
  rows.push_back(
      {{fmt::format("{} {} · {:.1f} s · {} tokens, {} thinking · prefilled {} · reused {}{}", steps,
                    steps == 1 ? "step" : "steps", number_of(fields, "seconds"), count("sampled"),
                    count("thinking"), count("prefilled"), count("reused"),
                    changed_files(text_of(fields, "patch"))),
        Style::dim}});
  const std::string conversation = text_of(fields, "conversation");
  if (!conversation.empty()) {
    rows.push_back({{fmt::format("kept as {} · fathom run -r {} goes on", visible(conversation),
                                 visible(conversation)),
                     Style::dim}});
  }
  return rows;
}

}  // namespace

std::string call_title(const Json& call) {
  struct Naming {
    std::string_view tool, shown;
    const char* argument;
  };
  constexpr std::array<Naming, 5> kNames = {{{"run_command", "run", "command"},
                                             {"read_file", "read", "path"},
                                             {"write_file", "write", "path"},
                                             {"edit_file", "edit", "path"},
                                             {"search_files", "search", "pattern"}}};
  const std::string tool = text_of(call, "tool");
  const Json arguments = call.value("arguments", Json::object());
  const auto naming = std::ranges::find(kNames, tool, &Naming::tool);
  if (naming == kNames.end()) return tool.empty() ? "call" : visible(tool);
  std::string about = text_of(arguments, naming->argument);
  if (about.empty()) about = text_of(arguments, "glob");
  const auto lines = split_lines(about);
  const std::string_view first = lines.empty() ? std::string_view() : lines.front();
  return fmt::format("{:<6} {}{}", naming->shown, visible(first), lines.size() > 1 ? " …" : "");
}

std::vector<Row> rows_of(const agent::Event& event, const Json& call, const RowContext& context) {
  const int columns = std::clamp(context.columns - 1, 20, kBodyColumns);
  const Json& fields = event.fields;
  if (event.type == "start") return start_rows(fields, columns);
  if (event.type == "turn") return turn_rows(fields, columns);
  if (event.type == "thinking") return thinking_rows(fields, context, columns);
  if (event.type == "text" && context.answer) return text_rows(fields, columns);
  if (event.type == "outcome") return outcome_rows(fields, call, context, columns);
  if (event.type == "denied") return denied_rows(fields, columns);
  if (event.type == "cache" && text_of(fields, "kind") != "restored") {
    return {{{shorten("◆ cache: " + visible(text_of(fields, "text")), columns), Style::yellow}}};
  }
  if (event.type == "note") {
    return {{{shorten(fmt::format("◆ {}: {}", visible(text_of(fields, "kind")),
                                  visible(text_of(fields, "text"))),
                      columns),
              Style::yellow}}};
  }
  // The result repeats the error before it.
  if (event.type == "result") return result_rows(fields, columns);
  return {};
}

Row status_row(const agent::Live& live, int columns) {
  std::vector<std::string> fields;
  if (live.phase == "prefill" && live.prefill_total > 0) {
    constexpr int kBarCells = 20;
    const int filled = kBarCells * live.prefill_done / live.prefill_total;
    std::string bar;
    for (int cell = 0; cell < kBarCells; ++cell) bar += cell < filled ? "█" : " ";
    fields.push_back(fmt::format("prefill ▕{}▏ {} of {}", bar, grouped(live.prefill_done),
                                 grouped(live.prefill_total)));
    if (live.prefill_tokens_per_s > 0) {
      const double left = (live.prefill_total - live.prefill_done) / live.prefill_tokens_per_s;
      fields.push_back(fmt::format("{:.0f} tok/s", live.prefill_tokens_per_s));
      fields.push_back(fmt::format("{:.0f} s left", left));
    }
    if (live.reused > 0) fields.push_back(fmt::format("reused {}", grouped(live.reused)));
  } else {
    fields.push_back(live.mode_used.empty() ? live.phase : live.mode_used);
    if (live.context_limit > 0) {
      fields.push_back(
          fmt::format("ctx {}/{}", grouped(live.context_used), grouped(live.context_limit)));
    }
    if (live.decode_tokens_per_s > 0) {
      fields.push_back(fmt::format("{:.1f} tok/s", live.decode_tokens_per_s));
    }
    fields.push_back("^C stops");
  }
  std::string line;
  for (const std::string& field : fields) {
    const std::string longer = line.empty() ? " " + field : line + " · " + field;
    if (cells(longer) > columns - 1 && !line.empty()) break;
    line = longer;
  }
  return {{visible(line), Style::dim}};
}

}  // namespace fathom::ui
