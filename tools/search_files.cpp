// search_files: contents by regular expression, or file names by glob alone.
#include <algorithm>
#include <array>
#include <chrono>
#include <set>

#include <unistd.h>

#include <fmt/format.h>

#include "tools/desk_state.h"
#include "tools/glob.h"
#include "tools/regex.h"
#include "tools/text.h"
#include "tools/walk.h"

namespace fathom::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kSchema =
    R"({"name":"search_files","description":"Search file contents with a regular )"
    R"(expression, or file names with glob alone. Respects .gitignore.",)"
    R"("parameters":{"type":"object","properties":{"pattern":{"type":"string"},)"
    R"("path":{"type":"string"},"glob":{"type":"string"},"context":{"type":"integer"},)"
    R"("limit":{"type":"integer","description":"default 60"}}}})";

constexpr int kMatchesDefault = 60;
constexpr int kTokensMax = 4000;
constexpr int kContextMax = 20;

// A line of a search result is a pointer, not a text to read.
constexpr int kLineCharactersMax = 300;

// Sources are smaller; data files that are not would take the time that the others need.
constexpr std::int64_t kSearchedBytesMax = 8 * sandbox::kMiB;

// A warm search reads some 100 MB a second: beyond this it should have been narrower.
constexpr std::chrono::seconds kTimeMax{20};

// "export async function f": the first word that is no modifier decides.
bool is_definition(std::string_view line) {
  static const std::set<std::string_view> kModifiers = {
      "export", "pub", "async", "static", "inline", "public", "private", "protected", "constexpr"};
  static const std::set<std::string_view> kDefiners = {
      "def",  "class", "struct",   "enum",      "union", "namespace", "fn",
      "func", "type",  "function", "interface", "trait", "module",    "#define"};
  constexpr std::string_view kBlanks = " \t\r\v\f";
  while (true) {
    const auto begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return false;
    line.remove_prefix(begin);
    const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
    if (!kModifiers.contains(word)) return kDefiners.contains(word);
    line.remove_prefix(word.size());
  }
}

struct Query {
  std::optional<std::string> pattern;
  std::optional<std::string> glob;
  std::string folder = {};
  int context = 0;
  int limit = kMatchesDefault;
};

struct Line {
  int number = 0;
  bool matches = false;  // false: context
  std::string text;
};

struct FileMatches {
  std::string path;
  int count = 0;                 // all matching lines
  bool defines = false;          // one of them is a definition
  std::vector<Line> lines = {};  // of the first `limit` matches, with context
};

// What a search could not look at.
struct Gaps {
  std::vector<std::string> too_large = {};
  int gave_up = 0;        // lines
  int unread = 0;         // files, for lack of time
  bool too_many = false;  // files
};

FileMatches search_text(const std::string& path, std::string_view text, const Regex& regex,
                        const Query& query, Gaps& gaps) {
  FileMatches found{.path = path};
  const std::vector<std::string_view> lines = split_lines(text);
  const int count = static_cast<int>(lines.size());
  int shown_to = 0;  // lines below this index are in `found` already
  for (int i = 0; i < count; ++i) {
    std::string_view line = lines[static_cast<std::size_t>(i)];
    if (line.ends_with('\r')) line.remove_suffix(1);
    const Regex::Found answer = regex.search(line);
    if (answer == Regex::Found::gave_up) ++gaps.gave_up;
    if (answer != Regex::Found::yes) continue;
    found.defines = found.defines || is_definition(line);
    if (++found.count > query.limit) continue;
    const int last = std::min(count - 1, i + query.context);
    for (int j = std::max(shown_to, i - query.context); j <= last; ++j) {
      found.lines.push_back({j + 1, false, std::string(lines[static_cast<std::size_t>(j)])});
    }
    const auto own = std::ranges::find(found.lines, i + 1, &Line::number);
    own->matches = true;
    shown_to = last + 1;
  }
  // Matches beyond the limit may lie in the context of the last that counts.
  return found;
}

// Large binary files are passed over like small ones; only text that is left out is worth a word.
bool begins_as_text(const sandbox::Workspace& workspace, const std::string& path) {
  const auto file = workspace.open(path);
  if (!file) return false;
  std::array<char, 8000> begin{};  // what is_binary looks at
  const ssize_t got = ::read(file->get(), begin.data(), begin.size());
  return got > 0 && !is_binary({begin.data(), static_cast<std::size_t>(got)});
}

struct Search {
  std::vector<FileMatches> files;  // in the order of the outcome
  int total = 0;
  Gaps gaps;
};

Search search(const Desk::State& desk, const std::vector<FoundFile>& files, const Regex& regex,
              const Query& query, const std::stop_token& stop) {
  Search result;
  const auto end = Clock::now() + kTimeMax;
  int stored = 0;
  for (const FoundFile& file : files) {
    if (stop.stop_requested() || Clock::now() > end) {
      ++result.gaps.unread;
      continue;
    }
    if (file.bytes > kSearchedBytesMax) {
      if (begins_as_text(desk.workspace, file.path)) result.gaps.too_large.push_back(file.path);
      continue;
    }
    const auto text = desk.workspace.read(file.path, kSearchedBytesMax);
    if (!text || is_binary(*text)) continue;
    FileMatches found = search_text(file.path, *text, regex, query, result.gaps);
    if (found.count == 0) continue;
    result.total += found.count;
    // Only the first `limit` matches can be shown; of the files behind them the count is enough,
    // unless they hold definitions and come first.
    if (stored > query.limit && !found.defines) continue;
    if (!found.defines) stored += found.count;
    result.files.push_back(std::move(found));
  }
  std::ranges::stable_sort(result.files, [](const FileMatches& a, const FileMatches& b) {
    return a.defines > b.defines;
  });
  return result;
}

std::string describe(const Gaps& gaps) {
  std::vector<std::string> notes;
  if (!gaps.too_large.empty()) {
    const std::vector<std::string> named(
        gaps.too_large.begin(),
        gaps.too_large.begin() + std::min<std::ptrdiff_t>(3, std::ssize(gaps.too_large)));
    notes.push_back(fmt::format("[not searched, over 8 MiB: {}{}]", join(named),
                                gaps.too_large.size() > 3 ? ", …" : ""));
  }
  if (gaps.gave_up > 0) {
    notes.push_back(
        fmt::format("[the pattern took too long on {}]", count_of(gaps.gave_up, "line")));
  }
  if (gaps.unread > 0) {
    notes.push_back(
        fmt::format("[stopped for lack of time with {} unread; narrow it with path "
                    "or glob]",
                    count_of(gaps.unread, "file")));
  }
  if (gaps.too_many) notes.emplace_back("[too many files to look at all; narrow it with path]");
  return notes.empty() ? "" : "\n" + join(notes, "\n");
}

// The shown part of a search, file by file until the matches or the tokens are used up.
class Page {
 public:
  Page(Desk::State& desk, const Query& query) : desk_(desk), query_(query) {}

  // False: the page is full.
  bool add(const FileMatches& file) {
    std::string heading = "\n" + repair_utf8(file.path);
    int last_match = -kContextMax;
    for (const Line& line : file.lines) {
      const bool trails = !line.matches && line.number <= last_match + query_.context;
      if (shown_ == query_.limit && !trails) return false;
      std::string_view text = line.text;
      if (text.ends_with('\r')) text.remove_suffix(1);
      const std::string cut = cut_line(repair_utf8(text), kLineCharactersMax);
      const std::string row =
          fmt::format("{}\n{}{} {}", heading, line.number, line.matches ? "" : "-", cut);
      tokens_ += desk_.options.count_tokens(row);
      if (tokens_ > kTokensMax && shown_ > 0) return false;
      body_ += row;
      heading.clear();
      if (line.matches) {
        ++shown_;
        last_match = line.number;
      }
      if (cut.size() == text.size()) desk_.seen.show_line(file.path, line.number, line.text);
    }
    return true;
  }

  int shown() const { return shown_; }
  const std::string& body() const { return body_; }

 private:
  Desk::State& desk_;
  const Query& query_;
  int shown_ = 0;
  int tokens_ = 0;
  std::string body_;
};

Outcome search_contents(Desk::State& desk, const FoundFiles& found, const Query& query,
                        const std::stop_token& stop) {
  const auto regex = Regex::compile(*query.pattern);
  if (!regex) {
    return refuse(Status::invalid,
                  fmt::format("search_files needs a regular expression as pattern: {} at offset {} "
                              "of \"{}\". A backslash before a character takes it literally.",
                              regex.error().reason, regex.error().offset, *query.pattern));
  }
  Search result = search(desk, found.files, *regex, query, stop);
  result.gaps.too_many = !found.all;
  Page page(desk, query);
  for (const FileMatches& file : result.files) {
    if (!page.add(file)) break;
  }
  return {.text = fmt::format("search_files {} of {}{}{}", page.shown(), result.total,
                              result.total == 0 ? "\n(no matches)" : page.body(),
                              describe(result.gaps))};
}

Outcome list_names(const Desk::State& desk, const FoundFiles& found, const Query& query) {
  std::vector<std::string> names;
  for (const FoundFile& file : found.files) names.push_back(repair_utf8(file.path));
  const auto total = names.size();
  names.resize(std::min(total, static_cast<std::size_t>(query.limit)));
  names.resize(
      static_cast<std::size_t>(lines_that_fit(names, kTokensMax, desk.options.count_tokens)));
  return {.text = fmt::format("search_files {} of {}\n{}{}", names.size(), total,
                              names.empty() ? "(no matches)" : join(names, "\n"),
                              describe({.too_many = !found.all}))};
}

Outcome search_files_of(Desk::State& desk, const Arguments& arguments,
                        const std::stop_token& stop) {
  Query query{.pattern = arguments.text("pattern"), .glob = arguments.text("glob")};
  if (!query.pattern && !query.glob) {
    return refuse(Status::invalid, fmt::format("search_files needs pattern or glob (string). "
                                               "Got: {}.",
                                               arguments.names()));
  }
  const std::int64_t limit = arguments.integer("limit").value_or(kMatchesDefault);
  if (limit < 1) return refuse(Status::invalid, "search_files needs limit of at least 1.");
  // Every match takes at least a token.
  query.limit = static_cast<int>(std::min<std::int64_t>(limit, kTokensMax));
  const std::int64_t context = arguments.integer("context").value_or(0);
  query.context = static_cast<int>(std::clamp<std::int64_t>(context, 0, kContextMax));

  const auto path = spell(desk, arguments.text("path").value_or(""), Access::read);
  if (!path) return path.error();
  query.folder = *path == "." ? "" : *path;
  auto found = find_files(desk.workspace, query.folder, stop);
  if (!found) return refuse(desk, found.error(), *path, Access::read);
  if (query.glob) {
    std::erase_if(found->files,
                  [&](const FoundFile& file) { return !glob_selects(*query.glob, file.path); });
  }
  return query.pattern ? search_contents(desk, *found, query, stop)
                       : list_names(desk, *found, query);
}

}  // namespace

Tool search_files(Desk::State& desk) {
  return {.name = "search_files",
          .schema = std::string(kSchema),
          .effect = Effect::reads,
          .run = [&desk](const Arguments& arguments, const OutputCallback&, std::stop_token stop) {
            return search_files_of(desk, arguments, stop);
          }};
}

}  // namespace fathom::tools
