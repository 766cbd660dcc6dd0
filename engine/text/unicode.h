// The character classes that the tokenizer's split patterns distinguish.
#pragma once

#include <array>
#include <cstdint>

namespace fathom::engine {

// One class per code point: \p{L} and so on are general categories of Unicode 16, `space` and
// `newline` together are \s.
enum class CharacterClass : std::uint8_t {
  other,  // controls, format characters, private use, unassigned
  letter,
  mark,
  number,
  punctuation,
  symbol,
  space,    // \s but CR and LF
  newline,  // CR and LF
};

// The range of the second split, [一-龥぀-ゟ゠-ヿ].
constexpr bool is_cjk(char32_t c) noexcept {
  return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

// Immutable; classes() builds it once.
class CharacterClasses {
 public:
  static const CharacterClasses& classes();

  CharacterClass of(char32_t code_point) const noexcept {
    return code_point < plane_.size() ? plane_[code_point] : beyond(code_point);
  }

 private:
  CharacterClasses();
  static CharacterClass beyond(char32_t code_point) noexcept;

  std::array<CharacterClass, 0x10000> plane_;  // of the first plane, where nearly all text is
};

}  // namespace fathom::engine
