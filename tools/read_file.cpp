// read_file: a window of a text file with line numbers, or the entries of a folder.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "tools/desk_state.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr std::string_view kSchema =
    R"({"name":"read_file","description":"Read a text file with line numbers. Without a )"
    R"(range: the first 400 lines.","parameters":{"type":"object",)"
    R"("properties":{"path":{"type":"string"},"from":{"type":"integer"},)"
    R"("to":{"type":"integer"}},"required":["path"]}})";

constexpr int kLinesDefault = 400;
constexpr int kTokensMax = 6000;

std::string_view kind_of(std::string_view bytes) {
  struct Magic {
    std::string_view begin;
    std::string_view kind;
  };
  using namespace std::string_view_literals;
  static constexpr std::array kKinds = {Magic{"\x89PNG"sv, "a PNG image"},
                                        Magic{"\xFF\xD8\xFF"sv, "a JPEG image"},
                                        Magic{"GIF8"sv, "a GIF image"},
                                        Magic{"%PDF"sv, "a PDF document"},
                                        Magic{"PK\x03\x04"sv, "a zip archive"},
                                        Magic{"\x1F\x8B"sv, "gzip data"},
                                        Magic{"\x28\xB5\x2F\xFD"sv, "zstd data"},
                                        Magic{"\x7F"
                                              "ELF"sv,
                                              "an ELF program or library"},
                                        Magic{"SQLite format 3"sv, "a SQLite database"},
                                        Magic{"!<arch>"sv, "a static library"}};
  const auto found = std::ranges::find_if(
      kKinds, [&](const Magic& magic) { return bytes.starts_with(magic.begin); });
  return found == kKinds.end() ? "binary data" : found->kind;
}

Outcome list_folder(const Desk::State& desk, const std::string& path) {
  const auto entries = desk.workspace.list(path);
  if (!entries) return refuse(desk, entries.error(), path, Access::read);
  std::vector<std::string> names;
  for (const sandbox::Entry& entry : *entries) {
    std::string name = repair_utf8(entry.path.substr(entry.path.rfind('/') + 1));
    if (entry.kind == sandbox::Entry::Kind::directory) name += '/';
    names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  const auto count = names.size();
  const auto shown =
      static_cast<std::size_t>(lines_that_fit(names, kTokensMax, desk.options.count_tokens));
  names.resize(shown);
  if (shown < count) {
    names.push_back(fmt::format("[… {} entries left out. By name: search_files with path and glob]",
                                count - shown));
  }
  return {.text = fmt::format("read_file {} is a directory, {} {}\n{}", path, count,
                              count == 1 ? "entry" : "entries",
                              names.empty() ? "(empty)" : join(names, "\n"))};
}

// The file, or the kept outcome of that name where the workspace has none.
tl::expected<std::string, Outcome> text_of(const Desk::State& desk, const std::string& path) {
  using Kind = sandbox::Refusal::Kind;
  auto text = desk.workspace.read(path, kFileBytesMax);
  if (text) return std::move(*text);
  if (text.error().kind == Kind::not_found || text.error().kind == Kind::not_directory) {
    if (auto kept = desk.kept.find(path)) return std::move(*kept);
  }
  if (text.error().kind == Kind::is_directory) return tl::unexpected(list_folder(desk, path));
  if (text.error().kind == Kind::too_large) {
    return tl::unexpected(refuse(
        Status::failed,
        fmt::format("{} Use run_command with head, tail, sed -n or grep.", text.error().text)));
  }
  return tl::unexpected(refuse(desk, text.error(), path, Access::read));
}

// Lines first … last that a call asks for, counted from 1; or why there are none.
struct Range {
  int first = 1;
  int last = 0;
};
tl::expected<Range, Outcome> range_of(const Arguments& arguments, const std::string& path,
                                      int count) {
  const std::int64_t from = arguments.integer("from").value_or(1);
  if (from < 1) return tl::unexpected(refuse(Status::invalid, "read_file: from counts from 1."));
  if (from > count) {
    return tl::unexpected(refuse(Status::invalid, fmt::format("{} has only {}; from is {}.", path,
                                                              count_of(count, "line"), from)));
  }
  const std::int64_t to = arguments.integer("to").value_or(from + kLinesDefault - 1);
  if (to < from) {
    return tl::unexpected(refuse(Status::invalid, "read_file: to must not be less than from."));
  }
  return Range{static_cast<int>(from), static_cast<int>(std::min<std::int64_t>(to, count))};
}

Outcome read(Desk::State& desk, const Arguments& arguments) {
  const auto path = spell(desk, *arguments.text("path"), Access::read);
  if (!path) return path.error();
  const auto text = text_of(desk, *path);
  if (!text) return text.error();
  if (is_binary(*text)) {
    return {.text = fmt::format("read_file {} is {}, {}", *path, kind_of(*text),
                                count_of(std::ssize(*text), "byte"))};
  }
  const std::vector<std::string_view> lines = split_lines(*text);
  const int count = static_cast<int>(lines.size());
  if (count == 0) {
    desk.seen.wrote(*path, {});
    return {.text = fmt::format("read_file {} 0 of 0\n(empty)", *path)};
  }
  const auto range = range_of(arguments, *path, count);
  if (!range) return range.error();

  std::vector<std::string> shown;
  for (int i = range->first; i <= range->last; ++i) {
    shown.push_back(numbered_line(lines[static_cast<std::size_t>(i) - 1], i));
  }
  const int fitting = lines_that_fit(shown, kTokensMax, desk.options.count_tokens);
  const int last = range->first + fitting - 1;
  desk.seen.show(*path, lines, range->first, last, /*as_a_whole=*/true);

  Outcome outcome;
  if (last < range->last) {
    const std::vector<std::string> rest(shown.begin() + fitting, shown.end());
    const int tokens = desk.options.count_tokens(join(rest, "\n"));
    outcome.omitted = Omitted{.lines = range->last - last, .tokens = tokens, .kept_in = *path};
    shown.resize(static_cast<std::size_t>(fitting));
    shown.push_back(fmt::format("[… {} left out, {}. Go on: read_file {} from {}]",
                                count_of(range->last - last, "line"), count_of(tokens, "token"),
                                *path, last + 1));
  }
  outcome.text = fmt::format("read_file {} {}-{} of {}\n{}", *path, range->first, last, count,
                             join(shown, "\n"));
  return outcome;
}

}  // namespace

Tool read_file(Desk::State& desk) {
  return {.name = "read_file",
          .schema = std::string(kSchema),
          .effect = Effect::reads,
          .run = [&desk](const Arguments& arguments, const OutputCallback&, std::stop_token) {
            return read(desk, arguments);
          }};
}

}  // namespace fathom::tools
