// Makes a command's raw output readable: for people while it runs, for the model when it is done.
#pragma once

#include <string>
#include <string_view>

namespace fathom::tools {

// Removes terminal escapes and control characters from output that arrives in pieces, and repairs
// its UTF-8. "\n", "\t" and "\r" stay; a backspace takes away the character before it, where that
// is not yet given out.
class TerminalFilter {
 public:
  // Clean text, as far as it is complete: an escape or a character that is cut off waits for the
  // next piece.
  std::string feed(std::string_view bytes);

  // What still waited when the output ended.
  std::string finish();

 private:
  enum class State { text, escape, parameters, string, string_escape };

  void take(char c, std::string& text);

  State state_ = State::text;
  std::string pending_;  // the beginning of a character
};

// The last state of lines that were overwritten by "\r".
std::string collapse_overwritten(std::string_view text);

// Four or more equal lines become one and "… the line above N times more".
std::string fold_repeated_lines(std::string_view text);

// All of the above, without the newlines at the end. Binary output becomes one sentence.
std::string readable_output(std::string_view bytes);

}  // namespace fathom::tools
