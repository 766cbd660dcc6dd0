// Holds the shell patterns and ignore rules against git.
#include "tools/glob.h"

#include <filesystem>
#include <random>
#include <set>
#include <sstream>

#include <gmock/gmock.h>

#include "sandbox/workspace.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/process.h"
#include "tools/walk.h"

namespace fathom::tools {
namespace {

TEST(Glob, KeepsStarsInsideNames) {
  EXPECT_TRUE(glob_match("a*c", "abbc"));
  EXPECT_FALSE(glob_match("a*c", "ab/c"));
  EXPECT_TRUE(glob_match("a/**/c", "a/c"));
  EXPECT_TRUE(glob_match("a/**/c", "a/b/b/c"));
  EXPECT_TRUE(glob_match("**/c", "c"));
  EXPECT_FALSE(glob_match("a/**", "a"));
  EXPECT_TRUE(glob_match("a**c", "abc"));
  EXPECT_FALSE(glob_match("a**c", "a/c"));
}

TEST(Glob, KnowsSets) {
  EXPECT_TRUE(glob_match("[a-c]x", "bx"));
  EXPECT_FALSE(glob_match("[!a-c]x", "bx"));
  EXPECT_TRUE(glob_match("[]a]", "]"));
  EXPECT_TRUE(glob_match("[[:digit:]_]", "7"));
  EXPECT_FALSE(glob_match("[^a]", "/"));
  EXPECT_FALSE(glob_match("[a", "a"));
  EXPECT_TRUE(glob_match("\\*", "*"));
}

TEST(Glob, EndsOnHostilePatterns) {
  std::string stars;
  for (int i = 0; i < 50; ++i) stars += "a*";
  EXPECT_FALSE(glob_match(stars + "b", std::string(2000, 'a')));
}

// Trees and rules made of few letters, so that they meet often.
class IgnoreRulesAgainstGit : public ::testing::TestWithParam<unsigned> {
 protected:
  std::string pick(const std::vector<std::string>& from) { return from[random_() % from.size()]; }

  std::string some_path() {
    std::string path = pick({"a", "b", "ab", "a.c", "b.c", "c"});
    for (auto depth = random_() % 4; depth > 0; --depth) {
      path = pick({"a", "b", "d", "x"}) + "/" + path;
    }
    return path;
  }

  std::string some_rule() {
    std::string rule = pick({"a", "b", "*.c", "a*", "?", "[ab]", "d", "x", "**", "a b", "\\a",
                             "[!a]", "[[:alpha:]]", "*", "***", "\\!a", "a\\ ", "a**", "b.c"});
    for (auto depth = random_() % 3; depth > 0; --depth) {
      rule = pick({"a", "**", "d", "*", "x", "?"}) + "/" + rule;
    }
    return pick({"", "", "", "!"}) + pick({"", "", "/"}) + rule + pick({"", "", "/", " ", "\r"});
  }

  std::mt19937 random_{GetParam()};
};

TEST_P(IgnoreRulesAgainstGit, FindsTheSameFiles) {
  const tests::TempDir folder;
  std::set<std::string> written;
  for (int i = 0; i < 25; ++i) {
    const std::string path = some_path();
    try {
      folder.write(path, "");
      if (std::filesystem::is_regular_file(folder.path() / path)) written.insert(path);
    } catch (const std::filesystem::filesystem_error&) {
      continue;  // a parent is a file
    }
  }
  for (const char* place : {".gitignore", "a/.gitignore", "d/.gitignore"}) {
    std::string rules;
    for (auto i = random_() % 5; i > 0; --i) rules += some_rule() + "\n";
    if (std::string(place) != ".gitignore" &&
        !std::filesystem::is_directory((folder.path() / place).parent_path())) {
      continue;
    }
    written.insert(folder.write(place, rules).lexically_relative(folder.path()));
  }
  const std::string git = "cd " + folder.path().string() + " && git -c core.excludesFile= ";
  ASSERT_EQ(run_process(git + "init -q 2>&1").exit, 0);
  // check-ignore names what is left out; -v -n with the index aside is the judge for all files.
  std::string paths;
  for (const auto& path : written) paths += path + "\n";
  const tests::TempDir list;
  list.write("paths", paths);
  const auto judged =
      run_process(git + "check-ignore --no-index --stdin < " + (list.path() / "paths").string());
  std::set<std::string> expected = written;
  std::istringstream ignored(judged.output);
  for (std::string path; std::getline(ignored, path);) expected.erase(path);

  const auto found = find_files(sandbox::Workspace(folder.path()), "", {});

  std::set<std::string> actual;
  for (const auto& file : found->files) actual.insert(file.path);
  EXPECT_EQ(actual, expected) << folder.read(".gitignore") << "-- a:\n"
                              << folder.read("a/.gitignore") << "-- d:\n"
                              << folder.read("d/.gitignore");
}

INSTANTIATE_TEST_SUITE_P(Trees, IgnoreRulesAgainstGit, ::testing::Range(0U, 60U));

}  // namespace
}  // namespace fathom::tools
