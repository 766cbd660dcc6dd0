// read_file: every text it can answer with, and paths that try to lead elsewhere.
#include <filesystem>

#include <sys/stat.h>

#include <gmock/gmock.h>

#include "tests/tools/desk_fixture.h"

namespace fathom::tools {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using ReadFile = DeskTest;

std::string lines(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

TEST_F(ReadFile, NumbersLines) {
  write("src/a.py", "def f():\n\n  return 1");

  EXPECT_EQ(text("read_file", {{"path", "src/a.py"}}),
            "read_file src/a.py 1-3 of 3\n1 def f():\n2 \n3   return 1");
}

TEST_F(ReadFile, NormalisesThePath) {
  write("src/a.py", "x\n");

  EXPECT_EQ(text("read_file", {{"path", "./src//../src/a.py"}}),
            "read_file src/a.py 1-1 of 1\n1 x");
  EXPECT_EQ(text("read_file", {{"path", (folder_.path() / "src/a.py").string()}}),
            "read_file src/a.py 1-1 of 1\n1 x");
}

TEST_F(ReadFile, ShowsTheRangeThatIsAskedFor) {
  write("a.txt", lines(900));

  EXPECT_EQ(text("read_file", {{"path", "a.txt"}, {"from", 3}, {"to", 4}}),
            "read_file a.txt 3-4 of 900\n3 line 3\n4 line 4");
  EXPECT_THAT(text("read_file", {{"path", "a.txt"}}), StartsWith("read_file a.txt 1-400 of 900\n"));
  EXPECT_THAT(text("read_file", {{"path", "a.txt"}, {"from", 600}}),
              StartsWith("read_file a.txt 600-900 of 900\n"));
  EXPECT_THAT(text("read_file", {{"path", "a.txt"}, {"to", 5000}}),
              StartsWith("read_file a.txt 1-900 of 900\n"));
}

TEST_F(ReadFile, RefusesRangesThatAreNone) {
  write("a.txt", lines(12));

  EXPECT_EQ(text("read_file", {{"path", "a.txt"}, {"from", 40}}),
            "a.txt has only 12 lines; from is 40.");
  EXPECT_EQ(text("read_file", {{"path", "a.txt"}, {"from", 0}}), "read_file: from counts from 1.");
  EXPECT_EQ(text("read_file", {{"path", "a.txt"}, {"from", 5}, {"to", 4}}),
            "read_file: to must not be less than from.");
  EXPECT_EQ(call("read_file", {{"path", "a.txt"}, {"from", 9223372036854775807}}).status,
            Status::invalid);
}

TEST_F(ReadFile, SaysWhatIsNotText) {
  write("empty.txt", "");
  write("a.png", std::string("\x89PNG\0\0", 6));
  write("a.bin", std::string("ab\0", 3));

  EXPECT_EQ(text("read_file", {{"path", "empty.txt"}}), "read_file empty.txt 0 of 0\n(empty)");
  EXPECT_EQ(text("read_file", {{"path", "a.png"}}), "read_file a.png is a PNG image, 6 bytes");
  EXPECT_EQ(text("read_file", {{"path", "a.bin"}}), "read_file a.bin is binary data, 3 bytes");
}

TEST_F(ReadFile, ListsFolders) {
  write("src/b.c", "");
  write("src/a/x.c", "");
  write("src/a.c", "");

  EXPECT_EQ(text("read_file", {{"path", "src"}}),
            "read_file src is a directory, 3 entries\na.c\na/\nb.c");
  EXPECT_EQ(text("read_file", {{"path", "."}}), "read_file . is a directory, 1 entry\nsrc/");
}

TEST_F(ReadFile, NamesTheNearestFilesWhenThereIsNone) {
  EXPECT_EQ(text("read_file", {{"path", "a.c"}}), "There is no file a.c.");
  for (const char* path : {"src/main.c", "src/mane.c", "doc/readme.md", "x/y/z.txt"}) {
    write(path, "");
  }

  EXPECT_EQ(text("read_file", {{"path", "src/man.c"}}),
            "There is no file src/man.c. Similar names: src/main.c, src/mane.c, x/y/z.txt.");
}

TEST_F(ReadFile, CutsByTokensAtLineEnds) {
  std::string wide;
  for (int i = 0; i < 300; ++i) wide += std::string(119, 'x') + "\n";
  write("wide.txt", wide);

  const Outcome outcome = call("read_file", {{"path", "wide.txt"}});

  ASSERT_TRUE(outcome.omitted);
  const auto shown = 300 - outcome.omitted->lines;
  EXPECT_LE(estimate_tokens(outcome.text), 6100);
  EXPECT_GT(estimate_tokens(outcome.text), 5800);
  EXPECT_THAT(outcome.text, StartsWith("read_file wide.txt 1-" + std::to_string(shown) + " of"));
  EXPECT_THAT(outcome.text,
              EndsWith("Go on: read_file wide.txt from " + std::to_string(shown + 1) + "]"));
}

TEST_F(ReadFile, CutsLongLinesAndRepairsText) {
  write("long.txt", std::string(1200, 'x') + "\n");
  write("latin.txt", "caf\xE9\r\n");

  EXPECT_EQ(
      text("read_file", {{"path", "long.txt"}}),
      "read_file long.txt 1-1 of 1\n1 " + std::string(1000, 'x') + "[… 200 characters left out]");
  EXPECT_EQ(text("read_file", {{"path", "latin.txt"}}), "read_file latin.txt 1-1 of 1\n1 caf�");
}

TEST_F(ReadFile, StaysInside) {
  std::filesystem::create_symlink("/etc/passwd", folder_.path() / "link");
  std::filesystem::create_directory_symlink("/etc", folder_.path() / "etc");

  for (const char* path : {"/etc/passwd", "../../../../etc/passwd", "link", "etc/passwd"}) {
    const Outcome outcome = call("read_file", {{"path", path}});
    EXPECT_EQ(outcome.status, Status::denied) << path;
    EXPECT_THAT(outcome.text, StartsWith("denied: read of ")) << path;
  }
  EXPECT_THAT(text("search_files", {{"pattern", "root:"}}), StartsWith("search_files 0 of 0\n"));
}

TEST_F(ReadFile, RefusesWhatIsNoFile) {
  ASSERT_EQ(::mkfifo((folder_.path() / "fifo").c_str(), 0600), 0);
  write("big", "");
  std::filesystem::resize_file(folder_.path() / "big", std::uintmax_t{1} << 32);

  EXPECT_EQ(call("read_file", {{"path", "fifo"}}).status, Status::failed);
  EXPECT_THAT(text("read_file", {{"path", "fifo"}}), HasSubstr("fifo"));
  EXPECT_THAT(text("read_file", {{"path", "big"}}), EndsWith("Use run_command with head, tail, "
                                                             "sed -n or grep."));
  EXPECT_EQ(call("read_file", {{"path", std::string("a\0b", 3)}}).status, Status::invalid);
}

}  // namespace
}  // namespace fathom::tools
