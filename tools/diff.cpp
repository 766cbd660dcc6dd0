// Line differences after E. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986).
//
// A path through the grid of lines before × lines after goes right (delete), down (insert) or
// diagonally (equal lines). `reach[k]` is how far right a path on diagonal k = x - y gets with d
// steps that are not diagonal. The reaches of every d are kept; walking them backwards gives the
// path.
#include "tools/diff.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr int kContextLines = 3;

// The reaches of d = 0 … 2000 take 2000² ints, 16 MB. Texts further apart than that share so
// little that the fewest lines are no help to a reader.
constexpr int kStepsMax = 2000;

using Ids = std::vector<int>;

// Equal lines get equal numbers, so that comparing is cheap.
class Numbering {
 public:
  Ids ids(const std::vector<std::string_view>& lines) {
    Ids ids;
    ids.reserve(lines.size());
    for (const auto line : lines) {
      ids.push_back(numbers_.try_emplace(line, static_cast<int>(numbers_.size())).first->second);
    }
    return ids;
  }

 private:
  std::unordered_map<std::string_view, int> numbers_;
};

int size_of(const auto& container) {
  return static_cast<int>(std::ssize(container));
}
int at(const Ids& ids, int i) {
  return ids[static_cast<std::size_t>(i)];
}

// The reaches of all d; entry d has the diagonals -d, -d + 2, …, d. Empty if kStepsMax is not
// enough.
class Reaches {
 public:
  Reaches(const Ids& before, const Ids& after) {
    for (int d = 0; d <= kStepsMax; ++d) {
      steps_.emplace_back(static_cast<std::size_t>(d) + 1);
      for (int k = -d; k <= d; k += 2) {
        int x = d == 0 ? 0 : start(d, k);
        while (x < size_of(before) && x - k < size_of(after) && at(before, x) == at(after, x - k)) {
          ++x;
        }
        steps_.back()[slot(d, k)] = x;
        if (x >= size_of(before) && x - k >= size_of(after)) return;
      }
    }
    steps_.clear();
  }

  int steps() const { return size_of(steps_) - 1; }  // -1: not found

  // Whether the best path to diagonal k with d steps comes from above, by an insertion.
  bool inserts(int d, int k) const {
    return k == -d || (k != d && reach(d - 1, k - 1) < reach(d - 1, k + 1));
  }

  int reach(int d, int k) const { return steps_[static_cast<std::size_t>(d)][slot(d, k)]; }

  // Where diagonal k begins at step d, before equal lines are followed.
  int start(int d, int k) const {
    return inserts(d, k) ? reach(d - 1, k + 1) : reach(d - 1, k - 1) + 1;
  }

 private:
  static std::size_t slot(int d, int k) { return static_cast<std::size_t>((k + d) / 2); }

  std::vector<std::vector<int>> steps_;
};

// The single steps of the path from its end to its beginning.
std::vector<Replaced> path_of(const Ids& before, const Ids& after) {
  const Reaches reaches(before, after);
  if (reaches.steps() < 0) return {{0, size_of(before), 0, size_of(after)}};
  std::vector<Replaced> path;
  int k = size_of(before) - size_of(after);
  for (int d = reaches.steps(); d > 0; --d) {
    const int x = reaches.start(d, k);
    const int y = x - k;
    const bool inserts = reaches.inserts(d, k);
    path.push_back(inserts ? Replaced{x, x, y - 1, y} : Replaced{x - 1, x, y, y});
    k += inserts ? 1 : -1;
  }
  std::ranges::reverse(path);
  return path;
}

// Joins steps that touch.
std::vector<Replaced> joined(const std::vector<Replaced>& steps) {
  std::vector<Replaced> joined;
  for (const Replaced& step : steps) {
    if (!joined.empty() && joined.back().before_end == step.before_begin &&
        joined.back().after_end == step.after_begin) {
      joined.back().before_end = step.before_end;
      joined.back().after_end = step.after_end;
    } else {
      joined.push_back(step);
    }
  }
  return joined;
}

// A path as git writes it in a diff: quoted, C style, if it has characters that would confuse.
std::string quoted(const std::string& path) {
  std::string escaped;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      escaped += fmt::format("\\{}", c);
    } else if (byte < 0x20 || byte >= 0x7F) {
      escaped += fmt::format("\\{:03o}", byte);
    } else {
      escaped += c;
    }
  }
  return escaped == path ? path : fmt::format("\"{}\"", escaped);
}

void append_line(std::string& diff, char sign, std::string_view line) {
  diff += sign;
  diff += line;
  if (!line.ends_with('\n')) diff += "\n\\ No newline at end of file\n";
}

// "12,3": first line and count; one before the first line where there is none.
std::string range(int begin, int end) {
  const int count = end - begin;
  const int first = count == 0 ? begin : begin + 1;
  return count == 1 ? fmt::format("{}", first) : fmt::format("{},{}", first, count);
}

using Lines = std::vector<std::string_view>;
using Hunk = std::vector<Replaced>;

// Changes whose context lines touch belong to one hunk.
std::vector<Hunk> hunks_of(const std::vector<Replaced>& changes) {
  std::vector<Hunk> hunks;
  for (const Replaced& change : changes) {
    const bool near =
        !hunks.empty() && change.before_begin - hunks.back().back().before_end <= 2 * kContextLines;
    if (!near) hunks.emplace_back();
    hunks.back().push_back(change);
  }
  return hunks;
}

void append_hunk(std::string& diff, const Hunk& hunk, const Lines& before, const Lines& after) {
  const int lead = std::min(kContextLines, hunk.front().before_begin);
  const int trail = std::min(kContextLines, size_of(before) - hunk.back().before_end);
  diff += fmt::format("@@ -{} +{} @@\n",
                      range(hunk.front().before_begin - lead, hunk.back().before_end + trail),
                      range(hunk.front().after_begin - lead, hunk.back().after_end + trail));
  int shown = hunk.front().before_begin - lead;
  const auto show = [&](char sign, const Lines& lines, int begin, int end) {
    for (int i = begin; i < end; ++i) append_line(diff, sign, lines[static_cast<std::size_t>(i)]);
  };
  for (const Replaced& change : hunk) {
    show(' ', before, shown, change.before_begin);
    show('-', before, change.before_begin, change.before_end);
    show('+', after, change.after_begin, change.after_end);
    shown = change.before_end;
  }
  show(' ', before, shown, shown + trail);
}

}  // namespace

std::vector<Replaced> compare_lines(const Lines& before, const Lines& after) {
  const auto shorter = static_cast<std::ptrdiff_t>(std::min(before.size(), after.size()));
  const auto head =
      std::mismatch(before.begin(), before.begin() + shorter, after.begin()).first - before.begin();
  const auto tail =
      std::mismatch(before.rbegin(), before.rbegin() + (shorter - head), after.rbegin()).first -
      before.rbegin();
  Numbering numbering;
  const Ids from = numbering.ids({before.begin() + head, before.end() - tail});
  const Ids to = numbering.ids({after.begin() + head, after.end() - tail});
  if (from.empty() && to.empty()) return {};
  std::vector<Replaced> changes = joined(path_of(from, to));
  for (Replaced& change : changes) {
    for (int* place :
         {&change.before_begin, &change.before_end, &change.after_begin, &change.after_end}) {
      *place += static_cast<int>(head);
    }
  }
  return changes;
}

std::string unified_diff(const DiffInput& input) {
  if (input.before == input.after && !input.created && !input.deleted) return "";
  const std::string from = quoted("a/" + input.path);
  const std::string to = quoted("b/" + input.path);
  std::string diff = fmt::format("diff --git {} {}\n", from, to);
  if (input.created) diff += "new file mode 100644\n";
  if (input.deleted) diff += "deleted file mode 100644\n";
  const Lines before = split_lines_with_ends(input.before);
  const Lines after = split_lines_with_ends(input.after);
  const std::vector<Replaced> changes = compare_lines(before, after);
  if (changes.empty()) return diff;

  // A tab ends a name with blanks, or `patch` takes its first word.
  const auto name = [](const std::string& path) {
    return path.find(' ') == std::string::npos ? path : path + "\t";
  };
  diff += fmt::format("--- {}\n+++ {}\n", input.created ? "/dev/null" : name(from),
                      input.deleted ? "/dev/null" : name(to));
  for (const Hunk& hunk : hunks_of(changes)) append_hunk(diff, hunk, before, after);
  return diff;
}

}  // namespace fathom::tools
