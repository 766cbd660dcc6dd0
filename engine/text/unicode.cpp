// Expands the generated ranges into a table of the first plane.
#include "engine/text/unicode.h"

#include <algorithm>
#include <iterator>

namespace fathom::engine {
namespace {

struct Range {
  char32_t first;
  char major;  // first letter of the general category, lower case; o: anything else
};

constexpr Range kRanges[] = {
#include "engine/text/unicode_ranges.inc"
};

CharacterClass from_major(char major) noexcept {
  switch (major) {
    case 'l':
      return CharacterClass::letter;
    case 'm':
      return CharacterClass::mark;
    case 'n':
      return CharacterClass::number;
    case 'p':
      return CharacterClass::punctuation;
    case 's':
      return CharacterClass::symbol;
    default:
      return CharacterClass::other;
  }
}

// White space as the patterns' reference engine defines \s. All of it lies in the first plane.
constexpr Range kSpaces[] = {{0x09, 's'},   {0x0E, 'o'},   {0x20, 's'},   {0x21, 'o'},
                             {0x85, 's'},   {0x86, 'o'},   {0xA0, 's'},   {0xA1, 'o'},
                             {0x1680, 's'}, {0x1681, 'o'}, {0x2000, 's'}, {0x200B, 'o'},
                             {0x2028, 's'}, {0x202A, 'o'}, {0x202F, 's'}, {0x2030, 'o'},
                             {0x205F, 's'}, {0x2060, 'o'}, {0x3000, 's'}, {0x3001, 'o'}};

}  // namespace

CharacterClasses::CharacterClasses() {
  for (auto range = std::begin(kRanges); range != std::end(kRanges); ++range) {
    if (range->first >= plane_.size()) break;
    const auto next = std::next(range);
    const std::size_t end = next == std::end(kRanges)
                                ? plane_.size()
                                : std::min<std::size_t>(next->first, plane_.size());
    std::fill(plane_.begin() + range->first, plane_.begin() + static_cast<std::ptrdiff_t>(end),
              from_major(range->major));
  }
  for (std::size_t i = 0; i < std::size(kSpaces); i += 2) {
    std::fill(plane_.begin() + kSpaces[i].first, plane_.begin() + kSpaces[i + 1].first,
              CharacterClass::space);
  }
  plane_[U'\r'] = plane_[U'\n'] = CharacterClass::newline;
}

const CharacterClasses& CharacterClasses::classes() {
  static const CharacterClasses kClasses;
  return kClasses;
}

CharacterClass CharacterClasses::beyond(char32_t code_point) noexcept {
  const auto after = std::ranges::upper_bound(kRanges, code_point, {}, &Range::first);
  return from_major(std::prev(after)->major);
}

}  // namespace fathom::engine
