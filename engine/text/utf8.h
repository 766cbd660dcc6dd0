// UTF-8: reading code points, and replacing what is not UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace fathom::engine {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

struct CodePoint {
  char32_t value = 0;
  int size = 1;  // bytes
};

// The code point that starts at text[at]. `text` must be valid UTF-8, `at` inside it on a border.
CodePoint code_point_at(std::string_view text, std::size_t at) noexcept;

// How text[at…] begins.
struct Utf8Part {
  enum class Kind {
    character,
    invalid,    // a maximal part that no continuation could make valid
    unfinished  // a prefix of a character, up to the end of the text
  };
  Kind kind = Kind::character;
  int size = 1;  // bytes
};
Utf8Part utf8_part(std::string_view text, std::size_t at) noexcept;

// Length of the longest prefix that is valid UTF-8.
std::size_t valid_utf8_prefix(std::string_view text) noexcept;

// `text` with one U+FFFD for each maximal invalid part.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace fathom::engine
