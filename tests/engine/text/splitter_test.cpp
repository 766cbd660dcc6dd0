// The splitter's own scanner, by example and against a general regular-expression engine.
#include "engine/text/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <memory>

#include <pcre2.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/text/tokenizers.h"

namespace fathom::engine {
namespace {

using testing::ElementsAre;
using Pieces = std::vector<std::string>;

Pieces split(std::string_view text) {
  Pieces pieces;
  Splitter splitter(text);
  for (auto piece = splitter.next(); !piece.empty(); piece = splitter.next()) {
    pieces.emplace_back(piece);
  }
  return pieces;
}

TEST(Splitter, CutsDigitsInThreesFromTheLeft) {
  EXPECT_THAT(split("1234567"), ElementsAre("123", "456", "7"));
  EXPECT_THAT(split(" 12"), ElementsAre(" ", "12"));
  EXPECT_THAT(split("x²½Ⅷ"), ElementsAre("x", "²½Ⅷ"));
}

TEST(Splitter, KeepsChineseRunsWholeAndLooksNoFurther) {
  EXPECT_THAT(split("a 你好 b"), ElementsAre("a", " ", "你好", " b"));
  EXPECT_THAT(split("カナ々"), ElementsAre("カナ", "々"));
  EXPECT_THAT(split(" 一・二x"), ElementsAre(" ", "一", "・", "二", "x"));
}

TEST(Splitter, JoinsOneMarkWithAsciiLetters) {
  EXPECT_THAT(split("don't"), ElementsAre("don", "'t"));
  EXPECT_THAT(split("a (foo).com_case"), ElementsAre("a", " (", "foo", ").", "com", "_case"));
  EXPECT_THAT(split(".é"), ElementsAre(".", "é"));
}

TEST(Splitter, LeavesTheLastSpaceToTheNextWord) {
  EXPECT_THAT(split("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(split("a  \t1"), ElementsAre("a", "  \t", "1"));
  EXPECT_THAT(split("a  "), ElementsAre("a", "  "));
}

TEST(Splitter, EndsAPieceAfterTheLastNewline) {
  EXPECT_THAT(split("};\n\nx"), ElementsAre("};\n\n", "x"));
  EXPECT_THAT(split("a \n \n  b"), ElementsAre("a", " \n \n", " ", " b"));
}

TEST(Splitter, KeepsWhatNoPatternMatches) {
  EXPECT_THAT(split(std::string_view("\0\0\0a", 4)),
              ElementsAre(std::string("\0\0", 2), std::string("\0a", 2)));
}

TEST(Splitter, KnowsAPatternHoweverItIsEscaped) {
  EXPECT_TRUE(same_pattern("[^\r\n\\p{L}\"]", "[^\\r\\n\\p{L}\\\"]"));
  EXPECT_FALSE(same_pattern("\\s+", "s+"));
}

// --- the plain twin -------------------------------------------------------------------------

class Pattern {
 public:
  explicit Pattern(std::string_view pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }

  // The number of the group that matches at the start of `text`; 0: none.
  int group(std::string_view text) const {
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), 0, PCRE2_ANCHORED, match_.get(), nullptr);
    return found > 0 ? found - 1 : 0;
  }

  // Matches and gaps of every text alike.
  Pieces isolate(const Pieces& texts) const {
    Pieces pieces;
    for (const std::string& text : texts) {
      std::size_t at = 0;
      while (pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0,
                         match_.get(), nullptr) > 0) {
        const PCRE2_SIZE* match = pcre2_get_ovector_pointer(match_.get());
        if (match[0] > at) pieces.push_back(text.substr(at, match[0] - at));
        pieces.push_back(text.substr(match[0], match[1] - match[0]));
        at = match[1];
      }
      if (at < text.size()) pieces.push_back(text.substr(at));
    }
    return pieces;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

// PCRE2 knows Unicode 14: characters assigned later differ and are left out. U+180E is a space to
// it alone.
bool comparable(char32_t c) {
  static const Pattern kUnassigned("(\\p{Cn})");
  std::string text;
  append_utf8(text, c);
  return c != 0x180E && kUnassigned.group(text) == 0;
}

TEST(CharacterClasses, AgreeWithAnotherTableWhereBothKnowTheCharacter) {
  const Pattern pattern(
      "([\\r\\n])|(\\s)|(\\p{L})|"
      "(\\p{M})|(\\p{N})|(\\p{P})|(\\p{S})");
  const CharacterClass classes[] = {CharacterClass::other,       CharacterClass::newline,
                                    CharacterClass::space,       CharacterClass::letter,
                                    CharacterClass::mark,        CharacterClass::number,
                                    CharacterClass::punctuation, CharacterClass::symbol};
  for (char32_t c = 0; c < 0x110000; ++c) {
    if ((c >= 0xD800 && c < 0xE000) || !comparable(c)) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(CharacterClasses::classes().of(c), classes[pattern.group(text)])
        << "U+" << std::hex << static_cast<unsigned>(c);
  }
}

TEST(Splitter, CutsAsThePatternsDo) {
  const Pattern first(kFirstSplit), second(kSecondSplit), third(kThirdSplit);
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::u32string text = random_text(random, 1 + random() % 40);
    std::erase_if(text, [](char32_t c) { return !comparable(c); });
    const std::string bytes = utf8(text);
    ASSERT_EQ(split(bytes), third.isolate(second.isolate(first.isolate({bytes})))) << bytes;
  }
}

}  // namespace
}  // namespace fathom::engine
