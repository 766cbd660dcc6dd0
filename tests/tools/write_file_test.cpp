// write_file: creates, replaces what was read, and leads nowhere else.
#include <filesystem>

#include <sys/stat.h>

#include <gmock/gmock.h>

#include "tests/tools/desk_fixture.h"

namespace fathom::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

using WriteFile = DeskTest;

TEST_F(WriteFile, CreatesWithParents) {
  const Outcome outcome = call("write_file", {{"path", "a/b.txt"}, {"text", "one\ntwo"}});

  EXPECT_EQ(outcome.text, "write_file a/b.txt created, 2 lines");
  EXPECT_EQ(read("a/b.txt"), "one\ntwo");
  ASSERT_EQ(outcome.files.size(), 1U);
  EXPECT_EQ(outcome.files[0].change, "created");
  EXPECT_EQ(outcome.files[0].after, "one\ntwo");
  EXPECT_EQ(text("write_file", {{"path", "c"}, {"text", "x\n"}}), "write_file c created, 1 line");
}

TEST_F(WriteFile, ReplacesWhatTheModelKnows) {
  write("a.txt", "old\n");
  ::chmod((folder_.path() / "a.txt").c_str(), 0751);
  call("read_file", {{"path", "a.txt"}});

  const Outcome outcome = call("write_file", {{"path", "a.txt"}, {"text", "new\n"}});

  EXPECT_EQ(outcome.text, "write_file a.txt replaced, 1 line");
  EXPECT_EQ(outcome.files[0].before, "old\n");
  struct stat status {};
  ::stat((folder_.path() / "a.txt").c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777U, 0751U);
  EXPECT_EQ(call("write_file", {{"path", "a.txt"}, {"text", "again\n"}}).status, Status::ok);
}

TEST_F(WriteFile, KeepsCrlfOfAFileThatHasNothingElse) {
  write("a.txt", "one\r\ntwo\r\n");
  write("mixed.txt", "one\r\ntwo\n");
  text("read_file", {{"path", "a.txt"}});
  text("read_file", {{"path", "mixed.txt"}});

  text("write_file", {{"path", "a.txt"}, {"text", "three\nfour\r\n"}});
  text("write_file", {{"path", "mixed.txt"}, {"text", "three\n"}});

  EXPECT_EQ(read("a.txt"), "three\r\nfour\r\n");
  EXPECT_EQ(read("mixed.txt"), "three\n");
  EXPECT_EQ(call("edit_file", {{"path", "a.txt"}, {"lines", "1"}, {"new", "five"}}).status,
            Status::ok);
}

TEST_F(WriteFile, RefusesWhatItHasNotSeen) {
  write("a.txt", "1\n2\n3\n");

  EXPECT_EQ(text("write_file", {{"path", "a.txt"}, {"text", ""}}),
            "You have not seen lines 1-3 of a.txt. Read them first.");
  EXPECT_EQ(read("a.txt"), "1\n2\n3\n");
  open({.must_have_read = false});
  EXPECT_EQ(text("write_file", {{"path", "a.txt"}, {"text", ""}}),
            "write_file a.txt replaced, 0 lines");
}

TEST_F(WriteFile, RefusesWhatChangedAndShowsIt) {
  write("a.txt", "1\n2\n3\n4\n5\n6\n");
  call("read_file", {{"path", "a.txt"}});
  write("a.txt", "1\n2\n3\n4\nfive\n6\n");

  EXPECT_EQ(text("write_file", {{"path", "a.txt"}, {"text", "x"}}),
            "a.txt changed since you saw it (line 5). Now:\n2 2\n3 3\n4 4\n5 five\n6 6\n"
            "Send the edit again.");
  EXPECT_EQ(text("write_file", {{"path", "a.txt"}, {"text", "x"}}),
            "write_file a.txt replaced, 1 line");
}

TEST_F(WriteFile, KnowsItsOwnEditsButNotThoseOfOthers) {
  write("a.txt", "1\n2\n3\n");
  call("read_file", {{"path", "a.txt"}});
  call("edit_file", {{"path", "a.txt"}, {"old", "2"}, {"new", "two"}});
  EXPECT_EQ(call("write_file", {{"path", "a.txt"}, {"text", "1\n2\n"}}).status, Status::ok);

  write("a.txt", "1\n2\nforeign\n");
  call("edit_file", {{"path", "a.txt"}, {"old", "1"}, {"new", "one"}});
  EXPECT_THAT(text("write_file", {{"path", "a.txt"}, {"text", ""}}),
              StartsWith("a.txt changed since you saw it"));
}

TEST_F(WriteFile, DeniesPathsOutside) {
  const std::string root = folder_.path();

  EXPECT_EQ(text("write_file", {{"path", "/etc/hosts"}, {"text", "x"}}),
            "denied: write to /etc/hosts. The sandbox allows writing in " + root +
                " and /tmp. No other way will work; tell the user if it is needed.");
  EXPECT_THAT(text("write_file", {{"path", "/tmp/x"}, {"text", "x"}}),
              HasSubstr("In /tmp only run_command can write"));
  EXPECT_EQ(call("write_file", {{"path", "../x"}, {"text", "x"}}).status, Status::denied);
}

TEST_F(WriteFile, DeniesProtectedNamesAndReadOnlyRuns) {
  EXPECT_THAT(text("write_file", {{"path", ".envrc"}, {"text", "x"}}),
              StartsWith("denied: write to .envrc. Files of this name can run commands later"));
  sandbox::Policy policy;
  policy.profile = sandbox::Profile::read_only;
  open({}, policy);
  EXPECT_THAT(text("write_file", {{"path", "a"}, {"text", "x"}}),
              StartsWith("denied: write to a. This run is read-only."));
}

TEST_F(WriteFile, NeverWritesThroughLinks) {
  const tests::TempDir outside;
  outside.write("secret", "untouched");
  const auto root = folder_.path();
  std::filesystem::create_hard_link(outside.path() / "secret", root / "hard");
  std::filesystem::create_symlink(outside.path() / "secret", root / "soft");
  std::filesystem::create_directory_symlink(outside.path(), root / "folder");
  open({.must_have_read = false});

  EXPECT_EQ(call("write_file", {{"path", "hard"}, {"text", "x"}}).status, Status::ok);
  EXPECT_THAT(text("write_file", {{"path", "soft"}, {"text", "x"}}),
              StartsWith("soft is a symbolic link."));
  EXPECT_EQ(call("write_file", {{"path", "folder/new"}, {"text", "x"}}).status, Status::denied);

  EXPECT_EQ(read("hard"), "x");
  EXPECT_EQ(outside.read("secret"), "untouched");
  EXPECT_FALSE(std::filesystem::exists(outside.path() / "new"));
}

TEST_F(WriteFile, RefusesWhatIsNoFileAndWhatIsTooLong) {
  ASSERT_EQ(::mkfifo((folder_.path() / "fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(folder_.path() / "folder");

  EXPECT_EQ(call("write_file", {{"path", "fifo"}, {"text", ""}}).status, Status::failed);
  EXPECT_EQ(call("write_file", {{"path", "folder"}, {"text", ""}}).status, Status::failed);
  EXPECT_EQ(text("write_file", {{"path", "a"}, {"text", std::string((1 << 20) + 1, 'x')}}),
            "write_file takes at most 1,048,576 bytes; text has 1,048,577 bytes. Write it in "
            "parts.");
}

}  // namespace
}  // namespace fathom::tools
