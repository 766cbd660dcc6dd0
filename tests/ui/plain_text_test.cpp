// Text from outside stays text: no control reaches the terminal, widths are those of its cells.
#include "ui/plain_text.h"

#include <gmock/gmock.h>

namespace fathom::ui {
namespace {

using testing::ElementsAre;

TEST(PlainText, ShowsControlsInsteadOfSendingThem) {
  EXPECT_EQ(visible("a\x1b]0;title\x07"), "a␛]0;title␇");
  EXPECT_EQ(visible("\r\b\x7f"), "␍␈␡");
  EXPECT_EQ(visible("\xC2\x9B"
                    "31m"),
            "\xEF\xBF\xBD"
            "31m");  // C1: the eight-bit CSI
}

TEST(PlainText, KeepsLinesTabsAndLetters) {
  EXPECT_EQ(visible("tab\tand\nline é 你"), "tab\tand\nline é 你");
}

TEST(PlainText, TurnsReorderingAndBrokenBytesIntoReplacementCharacters) {
  EXPECT_EQ(visible("x\xE2\x80\xAE"
                    "y"),
            "x\xEF\xBF\xBDy");
  EXPECT_EQ(visible("\xFF"), "\xEF\xBF\xBD");
  EXPECT_EQ(visible("\xE4\xBD"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(PlainText, NeverLetsAnyByteThroughThatControlsATerminal) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first), static_cast<char>(second)};
      const std::string shown = visible(bytes);
      for (const char c : shown) {
        EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t');
      }
    }
  }
}

TEST(PlainText, CountsCellsByCluster) {
  EXPECT_EQ(cells("abc"), 3);
  EXPECT_EQ(cells("你好"), 4);
  EXPECT_EQ(cells("e\xCC\x81"), 1);                         // e and a combining acute
  EXPECT_EQ(cells("\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA"), 2);  // a flag
}

TEST(PlainText, ClipsWholeClusters) {
  EXPECT_EQ(clip("你好", 3), "你");
  EXPECT_EQ(shorten("abcdef", 4), "abc…");
  EXPECT_EQ(shorten("abcd", 4), "abcd");
}

TEST(PlainText, WrapsAtBlanksAndCutsWhatHasNone) {
  EXPECT_THAT(wrap("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(wrap("abcdefgh", 3), ElementsAre("abc", "def", "gh"));
  EXPECT_THAT(wrap("a\n\nb\n", 9), ElementsAre("a", "", "b"));
  EXPECT_THAT(wrap("你好", 1), ElementsAre("你", "好"));
}

}  // namespace
}  // namespace fathom::ui
