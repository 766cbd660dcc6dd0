// search_files: order, counts, limits, ignore rules, and patterns built to hurt.
#include <filesystem>

#include <gmock/gmock.h>

#include "tests/tools/desk_fixture.h"

namespace fathom::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using SearchFiles = DeskTest;

TEST_F(SearchFiles, GroupsByFileWithDefinitionsFirst) {
  write("a.py", "total = 1\nprint(total)\n");
  write("z/b.py", "x\n  async def total():\n");
  write("b-c/d.py", "total\n");
  write("b/d.py", "total\n");

  EXPECT_EQ(text("search_files", {{"pattern", "total"}}),
            "search_files 5 of 5\nz/b.py\n2   async def total():\na.py\n1 total = 1\n"
            "2 print(total)\nb-c/d.py\n1 total\nb/d.py\n1 total");
}

TEST_F(SearchFiles, ShowsContext) {
  write("a.txt", "1\nhit\n3\n4\n5\nhit\nhit\n8\n");

  EXPECT_EQ(text("search_files", {{"pattern", "hit"}, {"context", 1}}),
            "search_files 3 of 3\na.txt\n1- 1\n2 hit\n3- 3\n5- 5\n6 hit\n7 hit\n8- 8");
  EXPECT_THAT(text("search_files", {{"pattern", "hit"}, {"context", 1}, {"limit", 1}}),
              StartsWith("search_files 1 of 3\na.txt\n1- 1\n2 hit\n3- 3"));
}

TEST_F(SearchFiles, ListsNamesByGlobAlone) {
  for (const char* path : {"b.py", "a.txt", "src/c.py", "src/x/d.py", ".hidden.py"})
    write(path, "");

  EXPECT_EQ(text("search_files", {{"glob", "*.py"}}),
            "search_files 4 of 4\n.hidden.py\nb.py\nsrc/c.py\nsrc/x/d.py");
  EXPECT_EQ(text("search_files", {{"glob", "src/*.py"}}), "search_files 1 of 1\nsrc/c.py");
  EXPECT_EQ(text("search_files", {{"glob", "src/**/*.py"}}),
            "search_files 2 of 2\nsrc/c.py\nsrc/x/d.py");
  EXPECT_EQ(text("search_files", {{"glob", "*.py"}, {"path", "src"}, {"limit", 1}}),
            "search_files 1 of 2\nsrc/c.py");
  EXPECT_EQ(text("search_files", {{"glob", "*.rs"}}), "search_files 0 of 0\n(no matches)");
}

TEST_F(SearchFiles, RestrictsContentsByPathAndGlob) {
  write("a.py", "x\n");
  write("src/b.py", "x\n");
  write("src/c.txt", "x\n");

  EXPECT_EQ(text("search_files", {{"pattern", "x"}, {"path", "src"}, {"glob", "*.py"}}),
            "search_files 1 of 1\nsrc/b.py\n1 x");
  EXPECT_EQ(text("search_files", {{"pattern", "x"}, {"path", "src/c.txt"}}),
            "search_files 1 of 1\nsrc/c.txt\n1 x");
  EXPECT_EQ(text("search_files", {{"pattern", "x"}, {"path", "srk"}}),
            "There is no file srk. Similar names: a.py, src/b.py, src/c.txt.");
}

TEST_F(SearchFiles, CountsMoreThanItShows) {
  std::string many;
  for (int i = 0; i < 100; ++i) many += "hit\n";
  write("a.txt", many);
  write("z.h", many + "struct hit\n");

  const std::string shown = text("search_files", {{"pattern", "hit"}});

  EXPECT_THAT(shown, StartsWith("search_files 60 of 201\nz.h\n1 hit\n"));
  EXPECT_THAT(text("search_files", {{"pattern", "hit"}, {"limit", 2}, {"context", 1}}),
              StartsWith("search_files 2 of 201\nz.h\n1 hit\n2 hit"));
}

TEST_F(SearchFiles, CutsByTokens) {
  std::string wide;
  for (int i = 0; i < 60; ++i) wide += "hit" + std::string(290, 'x') + "\n";
  write("a.txt", wide);

  const std::string shown = text("search_files", {{"pattern", "hit"}});

  EXPECT_LE(estimate_tokens(shown), 4100);
  EXPECT_THAT(shown, StartsWith("search_files 40 of 60\n"));
}

TEST_F(SearchFiles, LeavesOutWhatIsIgnoredBinaryOrGit) {
  write(".gitignore", "build/\n*.log\n!keep.log\n");
  write("src/.gitignore", "/local\n");
  for (const char* path : {"build/a", "a.log", "keep.log", "src/local", "src/x/local", ".git/a"}) {
    write(path, "x\n");
  }
  write("binary", std::string("x\0", 2));

  EXPECT_EQ(text("search_files", {{"pattern", "x"}}),
            "search_files 2 of 2\nkeep.log\n1 x\nsrc/x/local\n1 x");
}

TEST_F(SearchFiles, RefusesWhatIsNoSearch) {
  EXPECT_EQ(text("search_files", {{"pattern", "foo("}}),
            "search_files needs a regular expression as pattern: missing closing parenthesis at "
            "offset 4 of \"foo(\". A backslash before a character takes it literally.");
  EXPECT_EQ(text("search_files", {{"path", "src"}}),
            "search_files needs pattern or glob (string). Got: path.");
  EXPECT_EQ(text("search_files", {{"pattern", "x"}, {"limit", 0}}),
            "search_files needs limit of at least 1.");
}

TEST_F(SearchFiles, EndsPatternsBuiltToExplode) {
  write("a.txt", std::string(5000, 'a') + "b\n");

  EXPECT_EQ(text("search_files", {{"pattern", "(a+)+$"}}),
            "search_files 0 of 0\n(no matches)\n[the pattern took too long on 1 line]");
}

TEST_F(SearchFiles, MatchesUnicodeAndOneLineAtATime) {
  write("a.txt", "Größe\nzwei\n");

  EXPECT_THAT(text("search_files", {{"pattern", "^\\w+$"}}), StartsWith("search_files 2 of 2\n"));
  EXPECT_THAT(text("search_files", {{"pattern", "e\\s+z"}}), StartsWith("search_files 0 of 0\n"));
}

TEST_F(SearchFiles, SaysWhatWasTooLarge) {
  write("a.txt", "x\n");
  write("big.txt", std::string(9 << 20, 'x'));
  write("big.bin", "");
  std::filesystem::resize_file(folder_.path() / "big.bin", 9 << 20);

  EXPECT_EQ(text("search_files", {{"pattern", "x"}}),
            "search_files 1 of 1\na.txt\n1 x\n[not searched, over 8 MiB: big.txt]");
}

}  // namespace
}  // namespace fathom::tools
