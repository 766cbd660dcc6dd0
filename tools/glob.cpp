// Shell patterns with git's meaning (its manual page gitignore, "PATTERN FORMAT").
#include "tools/glob.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace fathom::tools {
namespace {

bool in_class(std::string_view name, char c) {
  const int byte = static_cast<unsigned char>(c);
  if (byte >= 0x80) return false;
  if (name == "alnum") return std::isalnum(byte) != 0;
  if (name == "alpha") return std::isalpha(byte) != 0;
  if (name == "blank") return byte == ' ' || byte == '\t';
  if (name == "cntrl") return std::iscntrl(byte) != 0;
  if (name == "digit") return std::isdigit(byte) != 0;
  if (name == "graph") return std::isgraph(byte) != 0;
  if (name == "lower") return std::islower(byte) != 0;
  if (name == "print") return std::isprint(byte) != 0;
  if (name == "punct") return std::ispunct(byte) != 0;
  if (name == "space") return std::isspace(byte) != 0;
  if (name == "upper") return std::isupper(byte) != 0;
  return name == "xdigit" && std::isxdigit(byte) != 0;
}

// A set at the beginning of `pattern`, which starts with "[".
struct Set {
  std::size_t size = 0;  // bytes of the pattern it takes
  bool matches = false;
};

// Nothing if the set is never closed.
std::optional<Set> match_set(std::string_view pattern, char c) {
  std::size_t i = 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  for (bool first = true; i < pattern.size(); first = false) {
    if (pattern[i] == ']' && !first) return Set{i + 1, found != negated && c != '/'};
    if (pattern.substr(i).starts_with("[:")) {
      if (const auto end = pattern.find(":]", i + 2); end != std::string_view::npos) {
        found = found || in_class(pattern.substr(i + 2, end - i - 2), c);
        i = end + 2;
        continue;
      }
    }
    if (pattern[i] == '\\') ++i;
    if (i >= pattern.size()) return std::nullopt;
    const auto low = static_cast<unsigned char>(pattern[i++]);
    auto high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      i += pattern[i + 1] == '\\' ? 2 : 1;
      if (i >= pattern.size()) return std::nullopt;
      high = static_cast<unsigned char>(pattern[i++]);
    }
    const auto byte = static_cast<unsigned char>(c);
    found = found || (low <= byte && byte <= high);
  }
  return std::nullopt;
}

// How many bytes of `pattern` the character `c` matches, 0 for none; no stars here.
std::size_t match_one(std::string_view pattern, char c) {
  switch (pattern.front()) {
    case '?':
      return c == '/' ? 0 : 1;
    case '[': {
      const auto set = match_set(pattern, c);
      return set && set->matches ? set->size : 0;
    }
    case '\\':
      return pattern.size() > 1 && pattern[1] == c ? 2 : 0;
    default:
      return pattern.front() == c ? 1 : 0;
  }
}

// Matches by keeping the last star of each kind to come back to: a `*` that may take more bytes of
// its name, and before it a `**` that may take more folders. Coming back to older stars is never
// needed, so the time is at most cubic, however many stars a hostile pattern has.
class Matcher {
 public:
  Matcher(std::string_view pattern, std::string_view path) : pattern_(pattern), path_(path) {}

  bool run() {
    while (true) {
      if (pattern_at_ < pattern_.size() && take_pattern()) continue;
      if (pattern_at_ == pattern_.size() && path_at_ == path_.size()) return true;
      if (!come_back()) return false;
    }
  }

 private:
  struct Star {
    std::size_t pattern_at = 0;  // behind the star
    std::size_t path_at = 0;     // where what follows it was last tried
  };

  std::string_view rest() const { return pattern_.substr(pattern_at_); }

  bool at_name_start() const { return pattern_at_ == 0 || pattern_[pattern_at_ - 1] == '/'; }

  // Consumes a piece of the pattern; false if it does not match here.
  bool take_pattern() {
    const std::size_t stars = std::min(rest().find_first_not_of('*'), rest().size());
    if (stars > 1 && at_name_start()) {
      if (stars == rest().size()) {  // everything that is left, but not nothing after "a/"
        if (path_at_ == path_.size() && pattern_at_ > 0) return false;
        pattern_at_ = pattern_.size();
        path_at_ = path_.size();
        return true;
      }
      if (rest()[stars] == '/') {
        pattern_at_ += stars + 1;
        folders_ = Star{pattern_at_, path_at_};
        star_.reset();
        return true;
      }
    }
    if (stars > 0) {
      pattern_at_ += stars;
      star_ = Star{pattern_at_, path_at_};
      return true;
    }
    if (path_at_ == path_.size()) return false;
    const std::size_t size = match_one(rest(), path_[path_at_]);
    if (size == 0) return false;
    pattern_at_ += size;
    ++path_at_;
    return true;
  }

  bool come_back() {
    if (star_ && star_->path_at < path_.size() && path_[star_->path_at] != '/') {
      path_at_ = ++star_->path_at;
      pattern_at_ = star_->pattern_at;
      return true;
    }
    star_.reset();
    if (!folders_) return false;
    const auto slash = path_.find('/', folders_->path_at);
    if (slash == std::string_view::npos) return false;
    path_at_ = folders_->path_at = slash + 1;
    pattern_at_ = folders_->pattern_at;
    return true;
  }

  std::string_view pattern_;
  std::string_view path_;
  std::size_t pattern_at_ = 0;
  std::size_t path_at_ = 0;
  std::optional<Star> star_;
  std::optional<Star> folders_;
};

std::string_view name_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// A line of a .gitignore without the blanks at its end, unless a backslash keeps them.
std::string_view without_trailing_blanks(std::string_view line) {
  std::size_t end = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool escapes = line[i] == '\\';
    if (escapes) ++i;
    if (escapes || line[i] != ' ') end = std::min(i + 1, line.size());
  }
  return line.substr(0, end);
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view path) {
  return Matcher(pattern, path).run();
}

bool glob_selects(std::string_view glob, std::string_view path) {
  return glob_match(glob, glob.find('/') == std::string_view::npos ? name_of(path) : path);
}

void IgnoreRules::add(std::string folder, std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  Rules rules{std::move(folder), {}};
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with('#')) continue;
    line = without_trailing_blanks(line);
    Rule rule;
    rule.negated = line.starts_with('!');
    if (rule.negated) line.remove_prefix(1);
    rule.folders_only = line.ends_with('/');
    if (rule.folders_only) line.remove_suffix(1);
    rule.anchored = line.find('/') != std::string_view::npos;
    if (line.starts_with('/')) line.remove_prefix(1);
    if (line.empty()) continue;
    rule.pattern = line;
    rules.rules.push_back(std::move(rule));
  }
  if (!rules.rules.empty()) files_.push_back(std::move(rules));
}

bool IgnoreRules::matches(const Rule& rule, std::string_view path, bool is_folder) {
  if (rule.folders_only && !is_folder) return false;
  return glob_match(rule.pattern, rule.anchored ? path : name_of(path));
}

bool IgnoreRules::ignores(std::string_view path, bool is_folder) const {
  for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
    std::string_view inside = path;
    if (!file->folder.empty()) {
      if (!path.starts_with(file->folder) || path.substr(file->folder.size()).substr(0, 1) != "/") {
        continue;
      }
      inside.remove_prefix(file->folder.size() + 1);
    }
    for (auto rule = file->rules.rbegin(); rule != file->rules.rend(); ++rule) {
      if (matches(*rule, inside, is_folder)) return !rule->negated;
    }
  }
  return false;
}

}  // namespace fathom::tools
