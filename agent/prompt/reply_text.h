// The symbols of a reply as far as they arrived, and what its tags look like.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/prompt/reply_symbols.h"

namespace fathom::agent::prompt {

enum class Tag {
  none,
  block,            // <｜DSML｜tool_calls>
  block_close,      // </｜DSML｜tool_calls>
  invoke,           // <｜DSML｜invoke
  invoke_close,     // </｜DSML｜invoke>
  parameter,        // <｜DSML｜parameter
  parameter_close,  // </｜DSML｜parameter>
};

// The symbols of a tag.
std::string_view symbols_of(Tag tag) noexcept;

// `unknown`: more of the reply must arrive before it can be said. Never once it is complete.
enum class Found { no, yes, unknown };

class ReplyText {
 public:
  std::string symbols;
  bool complete = false;  // nothing follows: END
  bool cut = false;       // END came from outside, by a limit; not by the model

  std::size_t size() const noexcept { return symbols.size(); }
  char operator[](std::size_t at) const noexcept { return symbols[at]; }
  bool at_end(std::size_t at) const noexcept { return complete && at == size(); }
  std::string text(std::size_t begin, std::size_t end) const {
    return spelled(std::string_view(symbols).substr(begin, end - begin));
  }

  // Whether `literal` stands at `at`.
  Found match(std::size_t at, std::string_view literal) const noexcept;

  // The tag at `at`. Sets `tag` if the answer is yes.
  Found tag_at(std::size_t at, Tag& tag) const noexcept;

  // The first place from `at` on that holds no blank (space, tab, CR, LF). May be the end of what
  // arrived. Cheap to ask again for the same place when more has arrived.
  std::size_t skip_blanks(std::size_t at) const noexcept;

 private:
  mutable std::size_t blanks_begin_ = 0;  // all blank from here
  mutable std::size_t blanks_end_ = 0;    // to here
};

constexpr bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// `text` without blanks around it.
std::string_view trimmed(std::string_view text) noexcept;

}  // namespace fathom::agent::prompt
