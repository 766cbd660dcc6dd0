// Direct reads give the file's bytes, or say what happened to it.
#include "engine/offload/weight_file.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/offload/page_memory.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr std::int64_t kSize = 3 * kReadAlignment + 77;  // as files are: no whole pages

std::string some_bytes() {
  std::string bytes(kSize, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  return bytes;
}

class WeightFileTest : public testing::Test {
 protected:
  int read(std::int64_t bytes, std::int64_t offset) {
    return file_->read(memory_.part(0, bytes), offset);
  }

  tests::TempDir folder_;
  std::string bytes_ = some_bytes();
  fs::path path_ = folder_.write("weights", bytes_);
  std::unique_ptr<WeightFile> file_ = open_weight_file(path_, kSize);
  PageMemory memory_{4 * kReadAlignment};
};

TEST_F(WeightFileTest, ReadsFromWhereItIsAsked) {
  ASSERT_EQ(read(kReadAlignment, 2 * kReadAlignment), 0);
  EXPECT_EQ(std::memcmp(memory_.bytes().data(), bytes_.data() + 2 * kReadAlignment, kReadAlignment),
            0);
}

TEST_F(WeightFileTest, ReadsTheLastPieceUpToTheEnd) {
  ASSERT_EQ(read(4 * kReadAlignment, 0), 0);
  EXPECT_EQ(std::memcmp(memory_.bytes().data(), bytes_.data(), kSize), 0);
}

TEST_F(WeightFileTest, SaysThatTheFileWasCut) {
  fs::resize_file(path_, kReadAlignment);
  const int failure = read(kReadAlignment, 2 * kReadAlignment);

  ASSERT_NE(failure, 0);
  EXPECT_THAT(file_->sentence(failure, 8192), HasSubstr(path_.string() + ": at byte 8192: the"));
  EXPECT_THAT(file_->sentence(failure, 8192), HasSubstr("shorter"));
}

TEST_F(WeightFileTest, SaysThatTheFileWasChanged) {
  fs::last_write_time(path_, fs::last_write_time(path_) + std::chrono::seconds(1));
  const int failure = read(kReadAlignment, 0);

  ASSERT_NE(failure, 0);
  EXPECT_THAT(file_->sentence(failure, 0), HasSubstr("changed"));
}

TEST_F(WeightFileTest, SaysWhatTheSystemSays) {
  EXPECT_THAT(file_->sentence(EIO, 0), HasSubstr("cannot be read: Input/output error"));
}

TEST_F(WeightFileTest, RefusesAFileOfAnotherSize) {
  EXPECT_THROW(open_weight_file(path_, kSize + 1), Error);
  EXPECT_THROW(open_weight_file(folder_.path() / "none", kSize), Error);
}

}  // namespace
}  // namespace fathom::engine
