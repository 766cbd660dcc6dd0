// Finds the one place in a file that a model means by the text it quotes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

// Bytes [begin, end) of the file.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// Where a quoted text stands in a file.
struct Found {
  std::vector<Span> places;  // exactly one is a success; overlapping ones count
  std::string tolerated;     // what had to be overlooked: "trailing blanks"; empty: nothing
  std::string replacement;   // the new text in the file's own line ends and indentation
};

// Looks for `old` as it is; where that fails, for a single place that equals it but for CRLF line
// ends, then also for blanks at line ends, then also for tabs that stand for spaces at line
// beginnings (8, 4 or 2 to a tab). `old` is not empty.
Found find_text(std::string_view text, std::string_view old, std::string_view replacement);

// `text` with its line ends as the file has them: a file with CRLF keeps CRLF.
std::string with_line_ends_of(std::string_view file, std::string_view text);

// The lines most like `old`, as many as it has.
struct Nearest {
  int first = 0;  // from 1
  int last = 0;
  int differing = 0;  // characters
};

// Nothing where less than half of `old` is found again, or looking would take too long.
std::optional<Nearest> find_nearest(const std::vector<std::string_view>& lines,
                                    std::string_view old);

}  // namespace fathom::tools
