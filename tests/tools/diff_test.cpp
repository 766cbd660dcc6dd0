// Holds the line differences against git: applied, they give the new text, and they are as short.
#include "tools/diff.h"

#include <filesystem>
#include <random>

#include <gmock/gmock.h>

#include "tests/support/temp_dir.h"
#include "tests/tools/process.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

std::string in(const tests::TempDir& folder, const std::string& command) {
  return "cd " + folder.path().string() + " && " + command;
}

int changed_lines(const std::string& diff) {
  int count = 0;
  for (const auto line : split_lines(diff)) {
    const bool heading = line.starts_with("---") || line.starts_with("+++");
    if (!heading && (line.starts_with('-') || line.starts_with('+'))) ++count;
  }
  return count;
}

TEST(Diff, ShowsThreeLinesAround) {
  EXPECT_EQ(unified_diff({.path = "a.txt",
                          .before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
                          .after = "1\n2\n3\n4\nfive\n6\n7\n8\n9"}),
            "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n"
            "-5\n+five\n 6\n 7\n 8\n-9\n+9\n\\ No newline at end of file\n");
  EXPECT_EQ(unified_diff({.path = "a.txt", .before = "x\n", .after = "x\n"}), "");
}

TEST(Diff, NamesCreatedAndDeletedFiles) {
  EXPECT_EQ(unified_diff({.path = "a b", .after = "x\n", .created = true}),
            "diff --git a/a b b/a b\nnew file mode 100644\n--- /dev/null\n+++ b/a b\t\n"
            "@@ -0,0 +1 @@\n+x\n");
  EXPECT_EQ(unified_diff({.path = "a", .before = "x\n", .deleted = true}),
            "diff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n"
            "@@ -1 +0,0 @@\n-x\n");
}

TEST(Diff, GivesUpOnTheFewestLinesButNotOnTheRightOnes) {
  std::string before;
  std::string after;
  for (int i = 0; i < 6000; ++i) {
    before += "b" + std::to_string(i) + "\n";
    after += "a" + std::to_string(i) + "\n";
  }

  const auto changes = compare_lines(split_lines(before), split_lines(after));

  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].before_end, 6000);
}

TEST(Diff, AppliesAndIsAsShortAsGits) {
  std::mt19937 random(5);
  const tests::TempDir folder;
  const auto some_text = [&] {
    std::string text;
    for (auto i = random() % 40; i > 0; --i) text += "abcdef"[random() % 6] + std::string("\n");
    if (random() % 3 == 0 && !text.empty()) text.pop_back();
    return text;
  };
  ASSERT_EQ(run_process(in(folder, "git init -q 2>&1")).exit, 0);
  for (int round = 0; round < 40; ++round) {
    const bool created = round % 5 == 4;
    const std::string before = created ? "" : some_text();
    const std::string after = some_text();
    const std::string name = round % 2 == 0 ? "f.txt" : "a \"ä\".txt";
    const std::string patch =
        unified_diff({.path = name, .before = before, .after = after, .created = created});
    if (patch.empty()) continue;
    folder.write("before", before);
    folder.write("after", after);
    std::filesystem::remove(folder.path() / name);
    if (!created) folder.write(name, before);
    folder.write("patch", patch);

    const auto applied = run_process(in(folder, "git apply patch 2>&1"));

    ASSERT_EQ(applied.exit, 0) << applied.output << patch;
    ASSERT_EQ(folder.read(name), after) << patch;
    if (created) continue;
    const auto gits = run_process(in(folder, "git diff --no-index --minimal before after"));
    ASSERT_EQ(changed_lines(patch), changed_lines(gits.output)) << patch << gits.output;
  }
}

TEST(Diff, AppliesWithPatch) {
  if (run_process("patch --version >/dev/null 2>&1").exit != 0) GTEST_SKIP() << "patch is missing";
  const tests::TempDir folder;
  folder.write("a b.txt", "1\n2\n3\n");
  folder.write("patch",
               unified_diff({.path = "a b.txt", .before = "1\n2\n3\n", .after = "1\n3\nx"}));

  const auto applied = run_process(in(folder, "patch -p1 < patch 2>&1"));

  EXPECT_EQ(applied.exit, 0) << applied.output;
  EXPECT_EQ(folder.read("a b.txt"), "1\n3\nx");
}

}  // namespace
}  // namespace fathom::tools
