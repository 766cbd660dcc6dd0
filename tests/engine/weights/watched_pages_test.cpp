// Files that change while they are mapped: the process lives, and says which file it was.
#include "engine/weights/watched_pages.h"

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/error.h"
#include "engine/session.h"
#include "engine/weights/mapped_file.h"
#include "tests/engine/weights/model_copy.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t kPage = 4096;

// Written an hour ago: a file system's clock may not tell two changes of one moment apart.
fs::path old_file(const tests::TempDir& folder, std::size_t bytes) {
  const fs::path file = folder.write("weights", std::string(bytes, 'x'));
  fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(1));
  return file;
}

std::string complaint(const MappedFile& file) {
  try {
    file.expect_unchanged();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(MappedFile, ReadsZerosWhereItsFileWasCut) {
  const tests::TempDir folder;
  const MappedFile file(old_file(folder, 5 * kPage));
  fs::resize_file(file.path(), kPage);

  EXPECT_EQ(file.bytes()[kPage - 1], std::byte{'x'});
  EXPECT_FALSE(file.lost());
  EXPECT_EQ(file.bytes()[4 * kPage], std::byte{0});
  EXPECT_TRUE(file.lost());
  EXPECT_EQ(complaint(file), file.path().string() +
                                 ": has 4096 bytes, expected the 20480 it had when it was opened");
}

TEST(MappedFile, RemembersThatAPartCouldNotBeRead) {
  const tests::TempDir folder;
  const MappedFile file(old_file(folder, 2 * kPage));
  fs::resize_file(file.path(), kPage);
  EXPECT_EQ(file.bytes()[kPage], std::byte{0});
  fs::resize_file(file.path(), 2 * kPage);

  EXPECT_THAT(complaint(file), HasSubstr("a part of it could not be read"));
}

TEST(MappedFile, TellsWhenItsFileWasWrittenTo) {
  const tests::TempDir folder;
  const MappedFile file(old_file(folder, kPage));
  EXPECT_EQ(complaint(file), "");

  patch(file.path(), 100, "y");

  EXPECT_THAT(complaint(file), AllOf(HasSubstr(file.path().string()), HasSubstr("written to")));
}

TEST(MappedFile, SurvivesThatItsFileIsReplaced) {
  const tests::TempDir folder;
  const MappedFile file(old_file(folder, kPage));
  fs::rename(folder.write("newer", "other"), file.path());

  EXPECT_EQ(complaint(file), "");
  EXPECT_EQ(file.bytes()[0], std::byte{'x'});
}

// The default for a fault in memory that is not watched.
TEST(WatchedPagesDeathTest, LeavesFaultsElsewhereToWhoeverHandledThemBefore) {
  const tests::TempDir folder;
  const MappedFile watched(old_file(folder, kPage));
  const fs::path other = folder.write("other", std::string(kPage, 'x'));
  const int file = ::open(other.c_str(), O_RDONLY | O_CLOEXEC);
  const auto* bytes =
      static_cast<const char*>(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file, 0));
  fs::resize_file(other, 0);

  EXPECT_DEATH(std::printf("%d", bytes[0]), "");
  ::close(file);
}

std::vector<Token> some_tokens() {
  std::vector<Token> tokens(40);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<Token>(i * 7 % 256);
  return tokens;
}

std::string sync_error(Session& session) {
  try {
    session.sync(some_tokens(), {}, {});
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(Weights, CutWhileInUseEndThePassAndNameTheFile) {
  const ModelCopy model("ga/ga.f32.gguf");
  const auto engine = Engine::load(model.path(), {.threads = 2});
  Session session(engine);
  EXPECT_EQ(sync_error(session), "");
  fs::resize_file(model.path(), fs::file_size(model.path()) / 4);
  Session other(engine);

  EXPECT_THAT(sync_error(other),
              AllOf(HasSubstr(model.path().string()), HasSubstr("expected the")));
  EXPECT_TRUE(other.tokens().empty());
  EXPECT_NE(sync_error(other), "");
  session.truncate(0);
  EXPECT_NE(sync_error(session), "");

  Session whole(Engine::load(golden("ga/ga.f32.gguf"), {.threads = 2}));
  EXPECT_EQ(sync_error(whole), "");
}

TEST(Weights, WrittenToWhileInUseEndThePassAndNameTheFile) {
  const ModelCopy model("ga/hf");
  const fs::path shard = model.path() / "model-00001-of-00002.safetensors";
  fs::last_write_time(shard, fs::file_time_type::clock::now() - std::chrono::hours(1));
  Session session(Engine::load(model.path(), {.threads = 1}));
  patch(shard, 1'000'000, "\x01\x02\x03\x04");

  EXPECT_THAT(sync_error(session), AllOf(HasSubstr(shard.string()), HasSubstr("written to")));
}

}  // namespace
}  // namespace fathom::engine
