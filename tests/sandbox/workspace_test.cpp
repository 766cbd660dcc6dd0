// Workspace against paths that want out.
#include "sandbox/workspace.h"

#include <filesystem>

#include <sys/stat.h>

#include <gmock/gmock.h>

#include "tests/support/temp_dir.h"

namespace fathom::tests {
namespace {

using sandbox::Refusal;
using sandbox::Workspace;
namespace fs = std::filesystem;

class WorkspaceTest : public testing::Test {
 protected:
  WorkspaceTest() {
    fs::create_directories(dir_.path() / "work");
    workspace_.emplace(dir_.path() / "work");
  }
  const Workspace& workspace() const { return *workspace_; }
  Refusal::Kind refusal_of_writing(const std::string& path) const {
    const auto result = workspace().replace(path, "x");
    return result ? Refusal::Kind::failed : result.error().kind;
  }
  TempDir dir_;
  std::optional<Workspace> workspace_;
};

TEST_F(WorkspaceTest, SpellsPathsOneWay) {
  EXPECT_EQ(workspace().relative("./a//b/../c/"), "a/c");
  EXPECT_EQ(workspace().relative((workspace().root() / "a").string()), "a");
  EXPECT_EQ(workspace().relative("a/../../b").error().kind, Refusal::Kind::outside);
  EXPECT_EQ(workspace().relative("/etc/passwd").error().kind, Refusal::Kind::outside);
  EXPECT_EQ(workspace().relative(std::string("a\0b", 3)).error().kind, Refusal::Kind::bad_path);
}

TEST_F(WorkspaceTest, FollowsLinksOnlyInside) {
  dir_.write("secret", "secret");
  dir_.write("work/file", "text");
  fs::create_symlink("file", dir_.path() / "work/in");
  fs::create_symlink("../secret", dir_.path() / "work/out");
  fs::create_symlink("/etc", dir_.path() / "work/etc");

  EXPECT_EQ(workspace().read("in", 100), "text");
  EXPECT_EQ(workspace().read("out", 100).error().kind, Refusal::Kind::outside);
  EXPECT_EQ(workspace().read("etc/passwd", 100).error().kind, Refusal::Kind::outside);
  EXPECT_EQ(refusal_of_writing("etc/planted"), Refusal::Kind::outside);
}

TEST_F(WorkspaceTest, ReplacesAndNeverWritesThrough) {
  dir_.write("outside", "before");
  fs::create_hard_link(dir_.path() / "outside", dir_.path() / "work/hard");
  fs::create_symlink("../outside", dir_.path() / "work/soft");
  fs::permissions(dir_.path() / "work/hard", fs::perms(0750));

  EXPECT_EQ(workspace().replace("hard", "after"), Workspace::Written::replaced);
  EXPECT_EQ(refusal_of_writing("soft"), Refusal::Kind::not_regular);
  EXPECT_EQ(dir_.read("outside"), "before");
  EXPECT_EQ(dir_.read("work/hard"), "after");
  EXPECT_EQ(fs::status(dir_.path() / "work/hard").permissions(), fs::perms(0750));
}

TEST_F(WorkspaceTest, MakesParentsAndLeavesNoTemporaryFile) {
  EXPECT_EQ(workspace().replace("a/b/c", "x"), Workspace::Written::created);

  EXPECT_EQ(dir_.read("work/a/b/c"), "x");
  EXPECT_EQ(workspace().list("a/b")->size(), 1u);
}

TEST_F(WorkspaceTest, RefusesProtectedNamesHoweverReached) {
  fs::create_directories(dir_.path() / "work/.git/hooks");
  fs::create_symlink(".git/hooks", dir_.path() / "work/link");

  for (const char* path : {".git/hooks/pre-commit", ".git/config", "link/pre-commit", ".envrc",
                           "sub/.vscode/tasks.json", ".GIT/config", ".claude"}) {
    EXPECT_EQ(refusal_of_writing(path), Refusal::Kind::protected_path) << path;
  }
  EXPECT_FALSE(fs::exists(dir_.path() / "work/sub"));
}

TEST_F(WorkspaceTest, ReadsRegularFilesOfBoundedSize) {
  dir_.write("work/file", "12345");
  fs::create_directories(dir_.path() / "work/folder");
  ASSERT_EQ(::mkfifo((dir_.path() / "work/fifo").c_str(), 0600), 0);

  EXPECT_EQ(workspace().read("file", 5), "12345");
  EXPECT_EQ(workspace().read("file", 4).error().kind, Refusal::Kind::too_large);
  EXPECT_EQ(workspace().read("fifo", 9).error().kind, Refusal::Kind::not_regular);
  EXPECT_EQ(workspace().read("folder", 9).error().kind, Refusal::Kind::is_directory);
  EXPECT_EQ(workspace().read("none", 9).error().kind, Refusal::Kind::not_found);
}

TEST_F(WorkspaceTest, WalksInOrderAndNeverThroughLinks) {
  dir_.write("work/b/x", "");
  dir_.write("work/a", "");
  dir_.write("work/skipped/y", "");
  fs::create_symlink("/usr", dir_.path() / "work/c");
  std::vector<std::string> seen;
  const auto walked = workspace().walk("", [&](const sandbox::Entry& entry) {
    seen.push_back(entry.path);
    return entry.path == "skipped" ? Workspace::Walk::skip : Workspace::Walk::on;
  });

  EXPECT_TRUE(walked);
  EXPECT_THAT(seen, testing::ElementsAre("a", "b", "b/x", "c", "skipped"));
}

TEST_F(WorkspaceTest, ReadOnlyProfileWritesNothing) {
  const Workspace fixed(dir_.path() / "work", sandbox::Profile::read_only);

  EXPECT_EQ(fixed.replace("a", "x").error().kind, Refusal::Kind::read_only);
  EXPECT_EQ(fixed.remove("a").error().kind, Refusal::Kind::read_only);
}

}  // namespace
}  // namespace fathom::tests
