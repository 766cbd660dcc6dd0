// `fathom conversation` on stores where nothing can be written.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/store.h"
#include "support/mounts.h"
#include "support/process.h"
#include "support/temp_dir.h"
#include "test_paths.h"

namespace fathom::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kReadOnly = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";

// A store with a conversation of two events; the second may lie in the log alone.
class ConversationsOnAReadOnlyDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_mount(kReadOnly, {disk()})) GTEST_SKIP() << "no mount namespace of one's own here";
    memory::Store store(folder_.path() / "used" / "memory.sqlite");
    id_ =
        store.create({.workspace = "/w", .model = "pocket", .fingerprint = "f", .vocabulary = "v"});
    for (int n = 0; n < 2; ++n) {
      const std::string json = R"({"v":1,"n":)" + std::to_string(n) + R"(,"type":"note"})";
      store.append(id_, {.event = {.n = n, .t = 0, .type = "note", .json = json},
                         .tokens = {},
                         .outcome = {},
                         .title = "fix it",
                         .status = {}});
    }
    // As a killed program leaves it: log and index beside the file.
    for (const char* name : {"memory.sqlite", "memory.sqlite-wal", "memory.sqlite-shm"}) {
      fs::copy(folder_.path() / "used" / name, disk() + "/" + name);
    }
  }

  std::string disk() const {
    fs::create_directories(folder_.path() / "disk %3f?#");
    return folder_.path() / "disk %3f?#";
  }

  Finished conversation(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {FATHOM_BUILD "/fathom", "conversation"});
    arguments.insert(arguments.end(), {"--store", disk() + "/memory.sqlite"});
    return run_process({.argv = with_mounts(kReadOnly, {disk()}, arguments)});
  }

  void expect_all_is_read() const {
    const auto before = files();
    const Finished list = conversation({"list"});
    EXPECT_THAT(list.output, HasSubstr(id_)) << list.error;
    EXPECT_THAT(conversation({"show", id_, "--json"}).output, HasSubstr(R"("n":1)"));
    EXPECT_EQ(conversation({"export", id_}).output,
              "{\"v\":1,\"n\":0,\"type\":\"note\"}\n{\"v\":1,\"n\":1,\"type\":\"note\"}\n");
    EXPECT_EQ(files(), before);
  }

  std::map<std::string, std::uintmax_t> files() const {
    std::map<std::string, std::uintmax_t> sizes;
    for (const auto& file : fs::directory_iterator(disk())) {
      sizes[file.path().filename()] = file.file_size();
    }
    return sizes;
  }

  TempDir folder_;
  std::string id_;
};

TEST_F(ConversationsOnAReadOnlyDisk, AreReadAsAKilledProgramLeftThem) {
  expect_all_is_read();
}

TEST_F(ConversationsOnAReadOnlyDisk, AreReadWithoutTheIndexOfTheLog) {
  fs::remove(disk() + "/memory.sqlite-shm");
  expect_all_is_read();
}

TEST_F(ConversationsOnAReadOnlyDisk, AreReadFromAFileAlone) {
  { memory::Store closes(disk() + "/memory.sqlite"); }
  ASSERT_EQ(files().size(), 1U);
  expect_all_is_read();
}

TEST_F(ConversationsOnAReadOnlyDisk, CannotBeBranched) {
  const Finished fork = conversation({"fork", id_});

  EXPECT_EQ(fork.exit, 1);
  EXPECT_THAT(fork.error, HasSubstr("memory.sqlite: "));
  EXPECT_THAT(fork.error, HasSubstr("make it writable, or name another file with --store"));
}

TEST(Conversations, AreNotMadeByLookingForThem) {
  const TempDir folder;
  const std::string store = folder.path() / "new" / "memory.sqlite";
  const auto look = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {FATHOM_BUILD "/fathom", "conversation"});
    words.insert(words.end(), {"--store", store});
    return run_process({.argv = words});
  };

  EXPECT_EQ(look({"list"}).output, "No conversations yet.\n");
  EXPECT_THAT(look({"show", "01"}).error, HasSubstr(store + " cannot be read: No such file"));
  EXPECT_FALSE(fs::exists(folder.path() / "new"));
}

}  // namespace
}  // namespace fathom::tests
