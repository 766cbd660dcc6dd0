// Cleaning, cutting and counting of text.
#include "tools/text.h"

#include <gmock/gmock.h>

#include "tools/command_output.h"
#include "tools/prompt_watch.h"
#include "tools/shorten.h"

namespace fathom::tools {
namespace {

TEST(Text, RepairsUtf8) {
  EXPECT_EQ(repair_utf8("a\xFFz"), "a�z");
  EXPECT_EQ(repair_utf8("\xE2\x82"), "�");        // cut off: one part
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), "���");  // a surrogate: each byte is a part
  EXPECT_EQ(repair_utf8("\xC0\xAF"), "��");       // overlong
  EXPECT_EQ(repair_utf8("gr\xC3\xBC\xC3\x9F"), "grüß");
}

TEST(Text, CountsAndCuts) {
  EXPECT_EQ(count_of(1, "line"), "1 line");
  EXPECT_EQ(count_of(4120, "line"), "4,120 lines");
  EXPECT_EQ(count_of(1'000'000, "token"), "1,000,000 tokens");
  EXPECT_EQ(cut_line("äöü", 2), "äö[… 1 character left out]");
  EXPECT_EQ(cut_line("äöü", 3), "äöü");
}

TEST(Text, MeasuresEditDistance) {
  EXPECT_EQ(edit_distance("kitten", "sitting", 100), 3);
  EXPECT_EQ(edit_distance("", "abc", 100), 3);
  EXPECT_EQ(edit_distance("größe", "grösse", 100), 2);
  EXPECT_EQ(edit_distance("aaaa", "bbbb", 2), 2);
}

TEST(CommandOutput, RemovesTerminalEscapes) {
  EXPECT_EQ(readable_output("\x1B[1;31mred\x1B[0m \x1B]0;title\x07x\x1B(By\n"), "red xy");
  EXPECT_EQ(readable_output("N\bNA\bA\n"), "NA");
  EXPECT_EQ(readable_output("a\x01\x7F\tb"), "a\tb");
  EXPECT_EQ(readable_output("\x1B]8;;http://a\x1B\\link\x1B]8;;\x1B\\"), "link");
}

TEST(CommandOutput, KeepsTheLastStateOfProgress) {
  EXPECT_EQ(readable_output("10%\r50%\r100%\ndone\r\n"), "100%\ndone");
}

TEST(CommandOutput, FoldsEqualLines) {
  EXPECT_EQ(readable_output("a\na\na\nb\n"), "a\na\na\nb");
  std::string many;
  for (int i = 0; i < 413; ++i) many += "warning\n";
  EXPECT_EQ(readable_output("x\n" + many + "y"), "x\nwarning\n… the line above 412 times more\ny");
}

TEST(CommandOutput, SumsUpBinary) {
  EXPECT_EQ(readable_output(std::string("ab\0cd", 5)), "(binary output, 5 bytes)");
  EXPECT_EQ(readable_output("\n\n"), "");
}

TEST(TerminalFilter, GivesTheSameForEveryCut) {
  const std::string bytes = "a\x1B[31mü\x1B]0;t\x1B\\€\r\nz\xE2\x82";
  TerminalFilter whole;
  std::string expected = whole.feed(bytes);
  expected += whole.finish();
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    TerminalFilter filter;
    std::string text = filter.feed(bytes.substr(0, cut));
    text += filter.feed(bytes.substr(cut));
    EXPECT_EQ(text + filter.finish(), expected) << cut;
  }
  EXPECT_EQ(expected, "aü€\r\nz�");
}

TEST(Shorten, KeepsHeadAndTailWithExactCounts) {
  std::string text;
  for (int i = 1; i <= 1000; ++i) text += std::to_string(1000 + i) + "\n";
  const auto by_line = [](std::string_view part) {
    return static_cast<int>(split_lines(part).size());
  };

  const Shortened shown = shorten_middle(text, 100, by_line);

  EXPECT_EQ(split_lines(shown.head).size(), 40U);
  EXPECT_EQ(split_lines(shown.tail).size(), 60U);
  EXPECT_THAT(shown.tail, ::testing::EndsWith("2000"));
  EXPECT_EQ(shown.lines_left_out, 900);
  EXPECT_EQ(shown.tokens_left_out, 900);
  EXPECT_TRUE(shorten_middle(text, 1000, by_line).whole());
}

TEST(Shorten, CutsALineThatIsTooLongAlone) {
  const Shortened shown = shorten_middle(std::string(90'000, 'x'), 6000, estimate_tokens);

  EXPECT_FALSE(shown.whole());
  EXPECT_THAT(shown.head + shown.tail, ::testing::HasSubstr("[… 89,000 characters left out]"));
}

TEST(Shorten, WritesTheNote) {
  EXPECT_EQ(left_out_note(4120, 61000, "out/17.txt"),
            "[… 4,120 lines left out, 61,000 tokens. Everything: read_file out/17.txt]");
}

TEST(PromptWatch, KnowsQuestionsFromProgress) {
  for (const char* line : {"Password: ", "Continue? ", "Proceed [y/N] ", ">>> ", "Enter name:"}) {
    EXPECT_TRUE(looks_like_prompt(line)) << line;
  }
  for (const char* line : {"", "Compiling: ", "100%", "Downloading (3/5)", "<html>"}) {
    EXPECT_FALSE(looks_like_prompt(line)) << line;
  }
}

TEST(PromptWatch, StopsWhatStaysSilentBehindAPrompt) {
  PromptWatch watch(std::chrono::milliseconds(1), {});
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);

  watch.saw("building\nPassword: ");
  // Ends by the stop; the time is for a watch that never does.
  stopped.wait_for(lock, watch.token(), std::chrono::seconds(60), [] { return false; });

  EXPECT_TRUE(watch.token().stop_requested());
  EXPECT_TRUE(watch.stopped());
}

TEST(PromptWatch, PassesTheTurnsStopOn) {
  std::stop_source turn;
  const PromptWatch watch(std::chrono::seconds(60), turn.get_token());

  turn.request_stop();

  EXPECT_TRUE(watch.token().stop_requested());
  EXPECT_FALSE(watch.stopped());
}

}  // namespace
}  // namespace fathom::tools
