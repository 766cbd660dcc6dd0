// The difference of two texts by lines, as a unified diff.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

struct DiffInput {
  std::string path;  // relative to the workspace
  std::string_view before = {};
  std::string_view after = {};
  bool created = false;  // there was no such file before
  bool deleted = false;  // there is none after
};

// A diff with 3 lines of context that `git apply` and `patch -p1` accept: `diff --git a/PATH
// b/PATH`, `--- a/PATH` and `+++ b/PATH` (/dev/null for a file that does not exist), then hunks.
// Empty if nothing changed.
std::string unified_diff(const DiffInput& input);

// Lines [begin, end) before, replaced by lines [begin, end) after; counted from 0.
struct Replaced {
  int before_begin = 0;
  int before_end = 0;
  int after_begin = 0;
  int after_end = 0;
};

// What turns `before` into `after`, ascending and with equal lines between: the fewest lines that
// do it (Myers), or everything between the equal ends where finding the fewest takes too long.
std::vector<Replaced> compare_lines(const std::vector<std::string_view>& before,
                                    const std::vector<std::string_view>& after);

}  // namespace fathom::tools
