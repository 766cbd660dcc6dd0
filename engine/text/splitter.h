// Cuts text into the pieces that byte-pair encoding works on: the three split patterns of
// DeepSeek V3 and V4 in one pass, without a regular-expression engine.
#pragma once

#include <string>
#include <string_view>

#include "engine/text/unicode.h"

namespace fathom::engine {

// The patterns run one after the other, each on the pieces of the one before; matches and gaps are
// pieces alike:
//
//   1  \p{N}{1,3}
//   2  [一-龥぀-ゟ゠-ヿ]+
//   3  kThirdSplit
//
// So the third pattern sees runs of CJK and the text between them apart, each as a text of its own
// that ends where the other begins; numbers end it too. Of a CJK run it leaves letters together and
// cuts off punctuation, as in 一・二.
inline constexpr std::string_view kFirstSplit = R"(\p{N}{1,3})";
inline constexpr std::string_view kSecondSplit = "[一-龥\u3040-ゟ゠-ヿ]+";
inline constexpr std::string_view kThirdSplit =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Whether `pattern`, as a tokenizer file spells it, is `split`: CR, LF and quotes may be escaped.
bool same_pattern(std::string_view pattern, std::string_view split);

// Walks over the pieces of a text, which must be valid UTF-8 and outlive it.
class Splitter {
 public:
  explicit Splitter(std::string_view text) noexcept : text_(text) {}

  // The next piece; empty at the end.
  std::string_view next() noexcept;

 private:
  struct Character {
    CharacterClass kind;
    std::size_t size;  // bytes; 0 at the end of the text
  };
  // As the third split sees it: outside the present text all is the end.
  Character character(std::size_t at) const noexcept;

  // Each returns where its match ends; `at` if there is none.
  std::size_t numbers(std::size_t at) const noexcept;
  std::size_t run_of(CharacterClass kind, std::size_t at) const noexcept;
  std::size_t letters_and_marks(std::size_t at) const noexcept;
  std::size_t ascii_letters(std::size_t at) const noexcept;
  std::size_t punctuation_and_newlines(std::size_t at) const noexcept;
  std::size_t white_space(std::size_t at) const noexcept;
  std::size_t third_split(std::size_t at) const noexcept;
  std::size_t piece(std::size_t at) const noexcept;

  const CharacterClasses& classes_ = CharacterClasses::classes();
  std::string_view text_;
  std::size_t at_ = 0;
  bool in_cjk_ = false;  // the present text is a CJK run
};

}  // namespace fathom::engine
