// write_file: creates a file or replaces all of it.
#include <algorithm>

#include <fmt/format.h>

#include "tools/desk_state.h"
#include "tools/find_text.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr std::string_view kSchema =
    R"({"name":"write_file","description":"Create a file or replace all of it. An existing )"
    R"(file must have been read first.","parameters":{"type":"object",)"
    R"("properties":{"path":{"type":"string"},"text":{"type":"string"}},"required":["path",)"
    R"("text"]}})";

constexpr std::int64_t kTextBytesMax = sandbox::kMiB;

// Why the file must not be replaced, if the model does not know what it holds.
std::optional<Outcome> refuse_unseen(Desk::State& desk, const std::string& path,
                                     std::string_view before) {
  if (!desk.options.must_have_read) return std::nullopt;
  const std::vector<std::string_view> lines = split_lines(before);
  if (lines.empty()) return std::nullopt;
  const SeenLines::Check check = desk.seen.check_file(path, lines);
  switch (check.answer) {
    case SeenLines::Answer::unchanged:
      return std::nullopt;
    case SeenLines::Answer::not_shown:
      return not_shown(path, check.first, check.last);
    case SeenLines::Answer::changed:
      break;
  }
  const int count = static_cast<int>(lines.size());
  return stale(desk, path, lines, check.first, std::max(1, check.first - 3),
               std::min(count, check.first + 3));
}

// A file whose every line ends in CRLF keeps that: a model writes "\n" without meaning anything by
// it.
std::string with_kept_line_ends(const std::optional<std::string>& before, std::string text) {
  if (!before) return text;
  const auto lines = split_lines_with_ends(*before);
  const auto ends_in_crlf = [](std::string_view line) {
    return line.ends_with("\r\n") || !line.ends_with('\n');
  };
  return std::ranges::all_of(lines, ends_in_crlf) ? with_line_ends_of(*before, text) : text;
}

Outcome write(Desk::State& desk, const Arguments& arguments) {
  const std::string given = *arguments.text("path");
  std::string text = *arguments.text("text");
  if (std::ssize(text) > kTextBytesMax) {
    return refuse(Status::invalid,
                  fmt::format("write_file takes at most {}; text has {}. Write it in parts.",
                              count_of(kTextBytesMax, "byte"), count_of(std::ssize(text), "byte")));
  }
  const auto path = spell(desk, given, Access::write);
  if (!path) return path.error();
  const auto before = text_before_change(desk, *path);
  if (!before) return before.error();
  if (*before) {
    if (auto refused = refuse_unseen(desk, *path, **before)) return *refused;
  }
  text = with_kept_line_ends(*before, std::move(text));
  const auto written = desk.workspace.replace(*path, text);
  if (!written) return refuse(desk, written.error(), given, Access::write);

  const std::vector<std::string_view> lines = split_lines(text);
  desk.seen.wrote(*path, lines);
  const bool created = *written == sandbox::Workspace::Written::created;
  return {.text = fmt::format("write_file {} {}, {} {}", *path, created ? "created" : "replaced",
                              lines.size(), lines.size() == 1 ? "line" : "lines"),
          .files = {{.path = *path,
                     .change = created ? "created" : "modified",
                     .before = before->value_or(""),
                     .after = text}}};
}

}  // namespace

Tool write_file(Desk::State& desk) {
  return {.name = "write_file",
          .schema = std::string(kSchema),
          .effect = Effect::writes,
          .run = [&desk](const Arguments& arguments, const OutputCallback&, std::stop_token) {
            return write(desk, arguments);
          }};
}

}  // namespace fathom::tools
