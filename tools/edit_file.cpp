// edit_file: changes one place of a file, named by its text or by line numbers.
#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "tools/desk_state.h"
#include "tools/find_text.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr std::string_view kSchema =
    R"({"name":"edit_file","description":"Change part of a file. Either old (text that )"
    R"(occurs exactly once) and new, or lines (\"40-52\", as last shown to you) and new. )"
    R"(Empty new deletes.","parameters":{"type":"object",)"
    R"("properties":{"path":{"type":"string"},"old":{"type":"string"},)"
    R"("lines":{"type":"string"},"new":{"type":"string"}},"required":["path","new"]}})";

constexpr int kContextLines = 3;
constexpr std::size_t kPlacesNamedMax = 20;

// A file, what to do to it, and the lines that names.
struct Edit {
  std::string path = {};
  std::string before = {};
  std::string after = {};
  int first = 0;  // the lines touched before, from 1
  int last = 0;
  int last_after = 0;          // of the same region after; below `first`: deleted
  std::string tolerated = {};  // what was overlooked to find the place
};

using Result = tl::expected<Edit, Outcome>;

// "40-52" or "40".
std::optional<std::pair<int, int>> parse_lines(std::string_view text) {
  const auto dash = text.find('-');
  const auto number = [](std::string_view digits) -> std::optional<int> {
    int value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || stop != end || value < 1) return std::nullopt;
    return value;
  };
  const auto first = number(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return std::pair(*first, *last);
}

int line_at(std::string_view text, std::size_t offset) {
  return static_cast<int>(std::ranges::count(text.substr(0, offset), '\n')) + 1;
}

// The line that holds the last of the bytes [begin, end); the line of `begin` if there are none.
int last_line_of(std::string_view text, std::size_t begin, std::size_t end) {
  return line_at(text, std::max(begin + 1, end) - 1);
}

Outcome refuse_places(const Edit& edit, const Found& found) {
  std::vector<std::string> lines;
  for (const Span place : found.places) {
    if (lines.size() == kPlacesNamedMax) {
      lines.emplace_back("…");
      break;
    }
    lines.push_back(std::to_string(line_at(edit.before, place.begin)));
  }
  return refuse(Status::failed,
                fmt::format("old occurs {} times in {}: lines {}. Add a line of context or use "
                            "lines.",
                            found.places.size(), edit.path, join(lines)));
}

Outcome refuse_missing(Desk::State& desk, const Edit& edit, std::string_view old) {
  const std::vector<std::string_view> lines = split_lines(edit.before);
  const auto nearest = find_nearest(lines, old);
  if (!nearest) {
    return refuse(Status::failed, fmt::format("old does not occur in {}.", edit.path));
  }
  desk.seen.show(edit.path, lines, nearest->first, nearest->last, /*as_a_whole=*/false);
  const std::string differ = fmt::format("{} differ{}", count_of(nearest->differing, "character"),
                                         nearest->differing == 1 ? "s" : "");
  if (nearest->first == nearest->last) {
    const auto line = lines[static_cast<std::size_t>(nearest->first) - 1];
    return refuse(Status::failed, fmt::format("old does not occur in {}. Nearest, line {} ({}): {}",
                                              edit.path, nearest->first, differ, line));
  }
  return refuse(Status::failed,
                fmt::format("old does not occur in {}. Nearest, lines {}-{} ({}):\n{}", edit.path,
                            nearest->first, nearest->last, differ,
                            numbered(lines, nearest->first, nearest->last)));
}

Result edit_by_text(Desk::State& desk, Edit edit, std::string_view old, std::string_view text) {
  if (old.empty()) {
    return tl::unexpected(
        refuse(Status::invalid, "edit_file needs old with some text. For a new file: write_file."));
  }
  const Found found = find_text(edit.before, old, text);
  if (found.places.empty()) return tl::unexpected(refuse_missing(desk, edit, old));
  if (found.places.size() > 1) return tl::unexpected(refuse_places(edit, found));

  const auto [begin, end] = found.places.front();
  edit.after = edit.before.substr(0, begin) + found.replacement + edit.before.substr(end);
  edit.first = line_at(edit.before, begin);
  edit.last = last_line_of(edit.before, begin, end);
  edit.last_after = last_line_of(edit.after, begin, begin + found.replacement.size());
  edit.tolerated = found.tolerated;

  const bool from_line_begin = begin == 0 || edit.before[begin - 1] == '\n';
  const bool to_line_end = end == edit.before.size() || edit.before[end - 1] == '\n';
  if (found.replacement.empty() && from_line_begin && to_line_end) edit.last_after = edit.first - 1;
  return edit;
}

// Why these lines must not be replaced, if the model does not know them as they are.
std::optional<Outcome> refuse_unseen(Desk::State& desk, const std::string& path,
                                     const std::vector<std::string_view>& lines, int first,
                                     int last) {
  if (!desk.options.must_have_read) return std::nullopt;
  const SeenLines::Check check = desk.seen.check_lines(path, lines, first, last);
  switch (check.answer) {
    case SeenLines::Answer::unchanged:
      return std::nullopt;
    case SeenLines::Answer::not_shown:
      return not_shown(path, check.first, check.last);
    case SeenLines::Answer::changed:
      break;
  }
  return stale(desk, path, lines, check.first, first, last);
}

Result edit_by_lines(Desk::State& desk, Edit edit, std::string_view range, std::string text) {
  const auto wanted = parse_lines(range);
  if (!wanted) {
    return tl::unexpected(
        refuse(Status::invalid,
               fmt::format("edit_file needs lines as \"40-52\" or \"40\". Got: \"{}\".", range)));
  }
  const auto [first, last] = *wanted;
  const std::vector<std::string_view> lines = split_lines(edit.before);
  const int count = static_cast<int>(lines.size());
  if (last > count) {
    return tl::unexpected(refuse(
        Status::invalid, fmt::format("{} has only {}; lines is {}. To add at the end: old with "
                                     "the last line, and new with it and what follows.",
                                     edit.path, count_of(count, "line"), range)));
  }
  if (auto refused = refuse_unseen(desk, edit.path, lines, first, last)) {
    return tl::unexpected(*refused);
  }
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  const std::string replacement = with_line_ends_of(edit.before, text);
  const auto offset = [&](int line) {
    return line == count ? edit.before.size()
                         : static_cast<std::size_t>(lines[static_cast<std::size_t>(line)].data() -
                                                    edit.before.data());
  };
  edit.after =
      edit.before.substr(0, offset(first - 1)) + replacement + edit.before.substr(offset(last));
  edit.first = first;
  edit.last = last;
  edit.last_after = first - 1 + static_cast<int>(split_lines(text).size());
  return edit;
}

Outcome describe(Desk::State& desk, const Edit& edit) {
  const std::vector<std::string_view> lines = split_lines(edit.after);
  const int first = std::max(1, edit.first - kContextLines);
  const int last = std::min(static_cast<int>(lines.size()), edit.last_after + kContextLines);
  const std::string target =
      edit.last_after < edit.first ? "deleted" : fmt::format("{}-{}", edit.first, edit.last_after);
  const std::string note =
      edit.tolerated.empty() ? "" : fmt::format(" (found despite {})", edit.tolerated);
  desk.seen.edited(edit.path, split_lines(edit.before), lines, first, last);
  Outcome outcome{.text = fmt::format("edit_file {} {}-{} → {}{}\n{}", edit.path, edit.first,
                                      edit.last, target, note,
                                      lines.empty() ? "(empty)" : numbered(lines, first, last))};
  if (edit.after != edit.before) {
    outcome.files = {
        {.path = edit.path, .change = "modified", .before = edit.before, .after = edit.after}};
  }
  return outcome;
}

Result work_out(Desk::State& desk, const Arguments& arguments, Edit edit) {
  const auto old = arguments.text("old");
  const auto lines = arguments.text("lines");
  std::string text = *arguments.text("new");
  if (old && lines) {
    return tl::unexpected(refuse(Status::invalid, "edit_file needs old or lines, not both."));
  }
  if (old) return edit_by_text(desk, std::move(edit), *old, text);
  if (lines) return edit_by_lines(desk, std::move(edit), *lines, std::move(text));
  return tl::unexpected(
      refuse(Status::invalid,
             fmt::format("edit_file needs old or lines (string). Got: {}.", arguments.names())));
}

Outcome edit_file_of(Desk::State& desk, const Arguments& arguments) {
  const std::string given = *arguments.text("path");
  const auto path = spell(desk, given, Access::write);
  if (!path) return path.error();
  auto before = text_before_change(desk, *path);
  if (!before) return before.error();
  if (!*before) return refuse(Status::failed, no_such_file(desk, *path));
  if (is_binary(**before)) {
    return refuse(Status::failed, fmt::format("{} is binary; edit_file changes text.", *path));
  }
  const Result edit = work_out(desk, arguments, {.path = *path, .before = std::move(**before)});
  if (!edit) return edit.error();
  const auto written = desk.workspace.replace(*path, edit->after);
  if (!written) return refuse(desk, written.error(), given, Access::write);
  return describe(desk, *edit);
}

}  // namespace

Tool edit_file(Desk::State& desk) {
  return {.name = "edit_file",
          .schema = std::string(kSchema),
          .effect = Effect::writes,
          .run = [&desk](const Arguments& arguments, const OutputCallback&, std::stop_token) {
            return edit_file_of(desk, arguments);
          }};
}

}  // namespace fathom::tools
