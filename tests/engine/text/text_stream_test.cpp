// Text that arrives in pieces.
#include <gtest/gtest.h>

#include "engine/text/utf8.h"
#include "engine/tokenizer.h"

namespace fathom::engine {
namespace {

// Valid text of all lengths, then everything that is not UTF-8: a lone continuation, an overlong
// form, a surrogate, a code point too high, and characters that end too early.
const std::string kMixed =
    "aé你😀"
    "\x80"
    "\xC0\xAF"
    "\xED\xA0\x80"
    "\xF4\x90\x80\x80"
    "\xF0\x9F\x98z\xE4\xBD";

TEST(TextStream, GivesTheSameTextForEveryCut) {
  const std::string expected = replace_invalid_utf8(kMixed);
  for (std::size_t cut = 0; cut <= kMixed.size(); ++cut) {
    TextStream stream;
    std::string text = stream.push(kMixed.substr(0, cut));
    text += stream.push(kMixed.substr(cut));
    text += stream.flush();
    EXPECT_EQ(text, expected) << cut;
  }
}

TEST(TextStream, ReleasesOnlyWholeCharacters) {
  TextStream stream;
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
  EXPECT_EQ(stream.push("\x98"), "");
  EXPECT_EQ(stream.push("\x80!"), "😀!");
  EXPECT_EQ(stream.push("\xE4\xBD"), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Utf8, ReplacesEachMaximalInvalidPartOnce) {
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98z"), "\uFFFDz");
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

}  // namespace
}  // namespace fathom::engine
