// The difference of two texts by lines, as a unified diff.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

// Lines [begin, end) before, replaced by lines [begin, end) after; counted from 0.
struct Replaced {
  int before_begin = 0;
  int before_end = 0;
  int after_begin = 0;
  int after_end = 0;
};

// What turns `before` into `after`, ascending: the fewest lines (Myers), or fewer steps of work
// where the texts have next to nothing in common.
std::vector<Replaced> compare_lines(const std::vector<std::string_view>& before,
                                    const std::vector<std::string_view>& after);

// A unified diff with 3 lines of context that `git apply` and `patch -p1` accept: headers
// `--- a/PATH` and `+++ b/PATH` (/dev/null for a text that does not exist), then hunks. Empty if
// the texts are equal.
struct DiffInput {
  std::string path;
  std::string_view before;
  std::string_view after;
  bool created = false;
  bool deleted = false;
};
std::string unified_diff(const DiffInput& input);

}  // namespace fathom::tools
