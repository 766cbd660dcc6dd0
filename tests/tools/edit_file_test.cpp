// edit_file: by quoted text and by line numbers, with every refusal.
#include <random>

#include <gmock/gmock.h>

#include "tests/tools/desk_fixture.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

using EditFile = DeskTest;

TEST_F(EditFile, ReplacesQuotedText) {
  write("a.py", "1\n2\n3\n4\nx = 5\n6\n7\n8\n9\n");

  const Outcome outcome =
      call("edit_file", {{"path", "a.py"}, {"old", "x = 5"}, {"new", "x = 6\ny = 7"}});

  EXPECT_EQ(outcome.text,
            "edit_file a.py 5-5 → 5-6\n2 2\n3 3\n4 4\n5 x = 6\n6 y = 7\n7 6\n8 7\n9 8");
  EXPECT_EQ(read("a.py"), "1\n2\n3\n4\nx = 6\ny = 7\n6\n7\n8\n9\n");
  EXPECT_EQ(outcome.files[0].change, "modified");
}

TEST_F(EditFile, ReportsNoFileAsChangedByEqualText) {
  write("a.c", "x\n");

  const Outcome outcome = call("edit_file", {{"path", "a.c"}, {"old", "x"}, {"new", "x"}});

  EXPECT_EQ(outcome.text, "edit_file a.c 1-1 → 1-1\n1 x");
  EXPECT_TRUE(outcome.files.empty());
}

TEST_F(EditFile, DeletesWholeLines) {
  write("a.txt", "1\n2\n3\n4\n");

  EXPECT_EQ(text("edit_file", {{"path", "a.txt"}, {"old", "2\n3\n"}, {"new", ""}}),
            "edit_file a.txt 2-3 → deleted\n1 1\n2 4");
  EXPECT_EQ(text("edit_file", {{"path", "a.txt"}, {"old", "1"}, {"new", ""}}),
            "edit_file a.txt 1-1 → 1-1\n1 \n2 4");
  EXPECT_EQ(text("edit_file", {{"path", "a.txt"}, {"old", "\n4\n"}, {"new", ""}}),
            "edit_file a.txt 1-2 → deleted\n(empty)");
}

TEST_F(EditFile, ReplacesShownLines) {
  write("a.txt", "1\n2\n3\n4\n5\n");
  call("read_file", {{"path", "a.txt"}});

  EXPECT_EQ(text("edit_file", {{"path", "a.txt"}, {"lines", "2-3"}, {"new", "two"}}),
            "edit_file a.txt 2-3 → 2-2\n1 1\n2 two\n3 4\n4 5");
  EXPECT_EQ(text("edit_file", {{"path", "a.txt"}, {"lines", "4"}, {"new", ""}}),
            "edit_file a.txt 4-4 → deleted\n1 1\n2 two\n3 4");
  EXPECT_EQ(read("a.txt"), "1\ntwo\n4\n");
}

TEST_F(EditFile, TakesLinesShownByASearch) {
  write("a.txt", "alpha\nbeta\n");
  call("search_files", {{"pattern", "beta"}});

  EXPECT_EQ(call("edit_file", {{"path", "a.txt"}, {"lines", "2"}, {"new", "b"}}).status,
            Status::ok);
}

TEST_F(EditFile, RefusesLinesNotShown) {
  std::string text_of_file;
  for (int i = 1; i <= 400; ++i) text_of_file += std::to_string(i) + "\n";
  write("src/a.c", text_of_file);
  call("read_file", {{"path", "src/a.c"}, {"from", 1}, {"to", 299}});

  EXPECT_EQ(text("edit_file", {{"path", "src/a.c"}, {"lines", "298-320"}, {"new", "x"}}),
            "You have not seen lines 300-320 of src/a.c. Read them first.");
  open({.must_have_read = false});
  EXPECT_EQ(call("edit_file", {{"path", "src/a.c"}, {"lines", "300-320"}, {"new", "x"}}).status,
            Status::ok);
}

TEST_F(EditFile, RefusesLinesThatChangedAndShowsThem) {
  write("a.c", "1\n2\n3\n");
  call("read_file", {{"path", "a.c"}});
  write("a.c", "1\ntwo\n3\n");

  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"lines", "1-2"}, {"new", "x"}}),
            "a.c changed since you saw it (line 2). Now:\n1 1\n2 two\nSend the edit again.");
  EXPECT_EQ(call("edit_file", {{"path", "a.c"}, {"lines", "1-2"}, {"new", "x"}}).status,
            Status::ok);
}

TEST_F(EditFile, KnowsThatItsOwnEditMovedTheLinesBelow) {
  write("a.c", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
  call("read_file", {{"path", "a.c"}});
  call("edit_file", {{"path", "a.c"}, {"lines", "1"}, {"new", "0\n1"}});

  EXPECT_THAT(text("edit_file", {{"path", "a.c"}, {"lines", "8"}, {"new", "x"}}),
              StartsWith("a.c changed since you saw it (line 8). Now:\n8 7\n"));
}

TEST_F(EditFile, SaysWhereOldNearlyOccurs) {
  write("a.c", "int one = 1;\nint total = 2;\n");

  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"old", "int totals = 3;"}, {"new", "x"}}),
            "old does not occur in a.c. Nearest, line 2 (2 characters differ): int total = 2;");
  EXPECT_EQ(
      text("edit_file", {{"path", "a.c"}, {"old", "int one = 1;\nint total = 3;\n"}, {"new", "x"}}),
      "old does not occur in a.c. Nearest, lines 1-2 (1 character differs):\n"
      "1 int one = 1;\n2 int total = 2;");
  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"old", "#@!%^&*()"}, {"new", "x"}}),
            "old does not occur in a.c.");
}

TEST_F(EditFile, SaysWhereOldOccursSeveralTimes) {
  write("a.c", "x\ny\nx\nx x\n");

  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"old", "x"}, {"new", "z"}}),
            "old occurs 4 times in a.c: lines 1, 3, 4, 4. Add a line of context or use lines.");
  EXPECT_EQ(read("a.c"), "x\ny\nx\nx x\n");
}

TEST_F(EditFile, RefusesCallsThatMakeNoEdit) {
  write("a.c", "x\n");

  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"new", "z"}}),
            "edit_file needs old or lines (string). Got: path, new.");
  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"old", "x"}, {"lines", "1"}, {"new", "z"}}),
            "edit_file needs old or lines, not both.");
  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"old", ""}, {"new", "z"}}),
            "edit_file needs old with some text. For a new file: write_file.");
  EXPECT_EQ(text("edit_file", {{"path", "a.c"}, {"lines", "4-2"}, {"new", "z"}}),
            "edit_file needs lines as \"40-52\" or \"40\". Got: \"4-2\".");
  EXPECT_THAT(text("edit_file", {{"path", "a.c"}, {"lines", "2"}, {"new", "z"}}),
              StartsWith("a.c has only 1 line; lines is 2."));
  EXPECT_EQ(text("edit_file", {{"path", "b.c"}, {"old", "x"}, {"new", "y"}}),
            "There is no file b.c. Similar names: a.c.");
}

TEST_F(EditFile, OverlooksLineEndsAndKeepsThem) {
  write("dos.txt", "one\r\ntwo\r\nthree\r\n");

  EXPECT_EQ(text("edit_file", {{"path", "dos.txt"}, {"old", "one\ntwo"}, {"new", "1\n2"}}),
            "edit_file dos.txt 1-2 → 1-2 (found despite CRLF line ends)\n1 1\n2 2\n3 three");
  EXPECT_EQ(read("dos.txt"), "1\r\n2\r\nthree\r\n");
}

TEST_F(EditFile, OverlooksTrailingBlanks) {
  write("a.txt", "one  \ntwo\t\nthree\n");

  EXPECT_THAT(text("edit_file", {{"path", "a.txt"}, {"old", "one\ntwo\n"}, {"new", "1\n"}}),
              StartsWith("edit_file a.txt 1-2 → 1-1 (found despite trailing blanks)\n"));
  EXPECT_EQ(read("a.txt"), "1\nthree\n");
}

TEST_F(EditFile, OverlooksTabsForSpacesAndKeepsThem) {
  write("Makefile", "all:\n\tcc a.c\n\tcc b.c\n");

  EXPECT_THAT(text("edit_file", {{"path", "Makefile"},
                                 {"old", "    cc a.c\n    cc b.c"},
                                 {"new", "    cc a.c\n        cc c.c"}}),
              StartsWith("edit_file Makefile 2-3 → 2-3 (found despite tabs for spaces)\n"));
  EXPECT_EQ(read("Makefile"), "all:\n\tcc a.c\n\t\tcc c.c\n");
}

TEST_F(EditFile, OverlooksNothingWhereSeveralPlacesWouldFit) {
  write("a.txt", "x \ny\nx  \ny\n");

  EXPECT_THAT(text("edit_file", {{"path", "a.txt"}, {"old", "x\ny"}, {"new", "z"}}),
              StartsWith("old does not occur in a.txt. Nearest, lines 1-2"));
  EXPECT_EQ(read("a.txt"), "x \ny\nx  \ny\n");
}

// Whatever text stands exactly once, replacing it gives what string surgery gives, and the ranges
// of the header hold the old and the new text.
TEST_F(EditFile, AgreesWithStringSurgeryOnRandomTexts) {
  std::mt19937 random(7);
  const auto some_text = [&](std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text += "abc \n\n"[random() % 6];
    return text;
  };
  int edits = 0;
  for (int round = 0; round < 300; ++round) {
    const std::string before = some_text(1 + random() % 60);
    const std::size_t begin = random() % before.size();
    const std::string old = before.substr(begin, 1 + random() % 12);
    const std::string replacement = some_text(random() % 12);
    if (before.find(old) != before.rfind(old) || old == replacement) continue;
    write("t", before);

    const Outcome outcome = call("edit_file", {{"path", "t"}, {"old", old}, {"new", replacement}});

    std::string expected = before;
    expected.replace(before.find(old), old.size(), replacement);
    ASSERT_EQ(outcome.status, Status::ok) << outcome.text;
    ASSERT_EQ(read("t"), expected);
    int first = 0;
    int last = 0;
    ASSERT_EQ(std::sscanf(outcome.text.c_str(), "edit_file t %d-%d", &first, &last), 2);
    const auto lines = split_lines_with_ends(before);
    std::string touched;
    for (int i = first; i <= last; ++i) touched += lines[static_cast<std::size_t>(i) - 1];
    ASSERT_THAT(touched, HasSubstr(old));
    ++edits;
  }
  EXPECT_GT(edits, 100);
}

}  // namespace
}  // namespace fathom::tools
