// What is left is the least that the machine and every level of control groups leave.
#include "engine/offload/available_memory.h"

#include <limits>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

class AvailableMemory : public testing::Test {
 protected:
  AvailableMemory() {
    folder_.write("proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 4000 kB\n");
  }

  void group(const std::string& path, const std::string& limit_name, const std::string& limit,
             const std::string& usage_name, const std::string& usage, const std::string& stat) {
    folder_.write("groups/" + path + "/" + limit_name, limit + "\n");
    folder_.write("groups/" + path + "/" + usage_name, usage + "\n");
    folder_.write("groups/" + path + "/memory.stat", stat);
  }

  std::int64_t bytes() const {
    return available_memory({folder_.path() / "proc", folder_.path() / "groups"});
  }

  tests::TempDir folder_;
};

TEST_F(AvailableMemory, IsWhatTheMachineCanFreeWithoutGroups) {
  EXPECT_EQ(bytes(), 4000 * 1024);
}

TEST_F(AvailableMemory, IsNotLimitedIfNothingIsToldAboutIt) {
  EXPECT_EQ(available_memory({folder_.path() / "none", folder_.path() / "none"}),
            std::numeric_limits<std::int64_t>::max());
}

TEST_F(AvailableMemory, CountsPagesOfFilesInAGroupAsFree) {
  folder_.write("proc/self/cgroup", "5:cpu:/\n4:memory:/a/b\n");
  group("memory/a/b", "memory.limit_in_bytes", "100000", "memory.usage_in_bytes", "90000",
        "cache 70000\ntotal_inactive_file 20000\ntotal_active_file 3000\n");
  EXPECT_EQ(bytes(), 100000 - 90000 + 20000 + 3000);
}

TEST_F(AvailableMemory, IsLimitedByEveryLevelOfGroups) {
  folder_.write("proc/self/cgroup", "0::/a/b\n");
  group("a/b", "memory.max", "max", "memory.current", "90000", "");
  group("a", "memory.max", "200000", "memory.current", "190000", "inactive_file 5000\n");
  EXPECT_EQ(bytes(), 15000);
}

TEST_F(AvailableMemory, IsNothingInAGroupBeyondItsLimit) {
  folder_.write("proc/self/cgroup", "0::/a\n");
  group("a", "memory.max", "1000", "memory.current", "2000", "");
  EXPECT_EQ(bytes(), 0);
}

}  // namespace
}  // namespace fathom::engine
