// Follows Markdown text as it grows and knows whether it stands inside code.
#pragma once

#include <string>
#include <string_view>

namespace fathom::agent::prompt {

class MarkdownCode {
 public:
  void push(std::string_view text);

  // A line of three or more backticks or tildes has opened a fence that none has closed.
  bool in_fence() const noexcept { return fence_size_ > 0; }

  // An odd number of runs of backticks stands on the line so far.
  bool in_inline_code() const noexcept { return runs_ % 2 == 1; }

  // Whether the line so far holds only blanks.
  bool line_is_blank() const noexcept { return line_.find_first_not_of(" \t\r") == line_.npos; }

 private:
  void end_line();

  std::string line_;
  int runs_ = 0;  // of backticks on the line
  char fence_ = 0;
  std::size_t fence_size_ = 0;  // 0: none is open
};

}  // namespace fathom::agent::prompt
