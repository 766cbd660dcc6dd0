// The cache's folder under damage: nothing wrong is ever read, and nothing is lost but what was
// hit.
#include "engine/cache/block_store.h"

#include <csignal>
#include <fstream>
#include <map>
#include <random>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/cache/shared_prefixes.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPageBytes = 1000;  // no multiple of anything

SegmentKind kind(std::string fingerprint = "model") {
  return {.root = root_key(fingerprint), .page_bytes = kPageBytes, .fingerprint = fingerprint};
}

std::vector<std::byte> page(int number) {
  std::mt19937 random(static_cast<unsigned>(number));
  std::vector<std::byte> bytes(kPageBytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

RecordHead head(int number) {
  RecordHead made;
  made.number = static_cast<std::uint32_t>(number);
  made.parent = {.low = static_cast<std::uint64_t>(number), .high = 7};
  made.ids.fill(number);
  made.key = {.low = static_cast<std::uint64_t>(number) + 1, .high = 7};
  return made;
}

// A folder with `count` blocks and one moment.
void fill(const fs::path& folder, int count) {
  BlockStore store(folder, kind());
  store.prepare();
  for (int i = 0; i < count; ++i) store.append(head(i), page(i));
  auto state = std::make_shared<Snapshot>();
  state->tokens = 130;
  state->bytes = page(99);
  store.append(head(0).key, {.tokens = 130, .open = {5, 6}, .state = state});
}

fs::path file_with(const fs::path& folder, const std::string& extension) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == extension) return entry.path();
  }
  return {};
}

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

// Numbers of the blocks that can be read; fails if one is read that was not written.
std::set<int> readable(const fs::path& folder) {
  BlockStore store(folder, kind());
  std::set<int> numbers;
  for (const BlockStore::StoredBlock& block : store.look().blocks) {
    std::vector<std::byte> bytes(kPageBytes);
    if (!store.read(block.place, block.head.key, bytes)) continue;
    const auto number = static_cast<int>(block.head.number);
    EXPECT_EQ(bytes, page(number));
    EXPECT_EQ(block.head.ids, head(number).ids);
    EXPECT_EQ(block.head.parent, head(number).parent);
    numbers.insert(number);
  }
  return numbers;
}

TEST(BlockStore, ReadsWhatItWrote) {
  const tests::TempDir dir;
  fill(dir.path() / "v1", 5);
  EXPECT_EQ(readable(dir.path() / "v1").size(), 5U);
  BlockStore store(dir.path() / "v1", kind());
  const auto moments = store.look().moments;
  ASSERT_EQ(moments.size(), 1U);
  EXPECT_EQ(moments[0].moment.open, (std::vector<Token>{5, 6}));
  EXPECT_EQ(read_moment(moments[0].moment.file)->bytes, page(99));
}

TEST(BlockStore, NoticesEveryFlippedByteOfRows) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  fill(folder, 3);
  const fs::path file = file_with(folder, ".rows");
  const std::string whole = read_file(file);
  // Every byte of the headers, every seventh of pages; with the index and without it.
  for (std::size_t at = 0; at < whole.size(); at += at < 200 || at > 4090 ? 7 : 1000) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    write_file(file, flipped);
    const std::size_t with_index = readable(folder).size();
    EXPECT_TRUE(with_index >= 2 || at < 176) << at;
    fs::rename(index_of(file), dir.path() / "kept");
    EXPECT_EQ(readable(folder).size(), with_index) << at;
    fs::rename(dir.path() / "kept", index_of(file));
  }
}

TEST(BlockStore, MakesUpForEveryFlippedByteOfTheIndex) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  fill(folder, 3);
  const fs::path index = index_of(file_with(folder, ".rows"));
  const std::string whole = read_file(index);
  for (std::size_t at = 0; at < whole.size(); at += 5) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    write_file(index, flipped);
    EXPECT_EQ(readable(folder).size(), 3U) << at;
  }
  write_file(index, std::string_view(whole).substr(0, 600));
  EXPECT_EQ(readable(folder).size(), 3U);
}

TEST(BlockStore, NoticesEveryFlippedByteOfAMoment) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  fill(folder, 1);
  const fs::path file = file_with(folder, ".moment");
  const std::string whole = read_file(file);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    write_file(file, flipped);
    EXPECT_EQ(read_moment(file), nullptr) << at;
  }
  for (std::size_t size = 0; size < whole.size(); size += 100) {
    write_file(file, std::string_view(whole).substr(0, size));
    EXPECT_EQ(read_moment(file), nullptr) << size;
  }
}

TEST(BlockStore, CutsATornTailAndGoesOn) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  fill(folder, 3);
  const fs::path file = file_with(folder, ".rows");
  const std::string whole = read_file(file);
  for (std::size_t size = whole.size() - 1; size > whole.size() - 1600; size -= 171) {
    write_file(file, std::string_view(whole).substr(0, size));
    BlockStore store(folder, kind());
    store.look();
    store.append(head(9), page(9));
    EXPECT_EQ(readable(folder), (std::set<int>{0, 1, 9})) << size;
  }
}

TEST(BlockStore, LeavesFilesOfOthersAlone) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  fill(folder, 2);
  const std::string foreign = "model.0000.rows";
  std::string newer = read_file(file_with(folder, ".rows"));
  newer[8] = 2;  // the version
  write_file(folder / foreign, newer);
  write_file(folder / "notes.txt", "mine");
  {
    BlockStore store(folder, kind());
    store.look();
    store.append(head(5), page(5));
    BlockStore other(folder, kind("other"));
    EXPECT_TRUE(other.look().blocks.empty());
    other.append(head(6), page(6));
  }
  EXPECT_EQ(read_file(folder / foreign), newer);
  EXPECT_EQ(read_file(folder / "notes.txt"), "mine");
  EXPECT_EQ(readable(folder), (std::set<int>{0, 1, 5}));
}

TEST(BlockStore, IsForItsOwnerAloneWhateverTheUmask) {
  const tests::TempDir dir;
  for (const mode_t mask : {0000U, 0777U, 0022U}) {
    const fs::path folder = dir.path() / std::to_string(mask) / "kv" / "v1";
    const mode_t before = ::umask(mask);
    fill(folder, 1);
    ::umask(before);
    for (const fs::path& path : {folder, folder.parent_path()}) {
      struct stat about = {};
      ASSERT_EQ(::stat(path.c_str(), &about), 0);
      EXPECT_EQ(about.st_mode & 0777U, 0700U) << mask;
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      struct stat about = {};
      ASSERT_EQ(::stat(entry.path().c_str(), &about), 0);
      EXPECT_EQ(about.st_mode & 0177U, 0U) << entry.path();
    }
  }
}

TEST(BlockStore, SharesTheFolderBetweenProcesses) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  BlockStore reader(folder, kind());
  EXPECT_TRUE(reader.look().blocks.empty());
  std::vector<pid_t> children;
  for (int child = 0; child < 4; ++child) {
    const pid_t process = ::fork();
    if (process == 0) {
      BlockStore store(folder, kind());
      store.prepare();
      store.look();
      for (int i = 0; i < 20; ++i) store.append(head(100 * child + i), page(100 * child + i));
      ::_exit(0);
    }
    children.push_back(process);
  }
  for (const pid_t process : children) ::waitpid(process, nullptr, 0);
  EXPECT_EQ(reader.look().blocks.size(), 80U);
  EXPECT_EQ(readable(folder).size(), 80U);
}

TEST(BlockStore, SurvivesBeingKilledAnywhere) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  std::mt19937 random(3);
  for (int attempt = 0; attempt < 60; ++attempt) {
    std::array<int, 2> ends = {};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const pid_t process = ::fork();
    if (process == 0) {
      BlockStore store(folder, kind());
      store.prepare();
      store.look();
      for (int i = 0;; ++i) {
        store.append(head(1000 * attempt + i), page(1000 * attempt + i));
        const char written = 1;
        if (::write(ends[1], &written, 1) != 1) ::_exit(1);
      }
    }
    ::close(ends[1]);
    const int wanted = static_cast<int>(random() % 40);
    char byte = 0;
    for (int i = 0; i < wanted; ++i) ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
    ::close(ends[0]);
    const std::set<int> found = readable(folder);
    for (int i = 0; i < wanted; ++i) EXPECT_TRUE(found.contains(1000 * attempt + i));
  }
}

TEST(BlockStore, EvictsNothingThatIsHeldOrOfAnotherVersion) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  fill(folder, 3);
  std::string newer = read_file(file_with(folder, ".rows"));
  newer[8] = 2;  // the version
  write_file(folder / "model.newer.rows", newer);
  write_file(folder / "model.foreign.moment", "not ours at all, whatever its name says");
  BlockStore live(folder, kind());
  EXPECT_EQ(live.look().blocks.size(), 3U);
  live.hold({0});

  BlockStore(folder, kind("other")).shrink(0);
  EXPECT_EQ(readable(folder).size(), 3U);
  live.hold({});
  BlockStore(folder, kind("other")).shrink(0);

  EXPECT_TRUE(readable(folder).empty());
  EXPECT_EQ(live.look().gone, (std::vector<int>{0}));
  EXPECT_EQ(read_file(folder / "model.newer.rows"), newer);
  EXPECT_TRUE(fs::exists(folder / "model.foreign.moment"));
  EXPECT_EQ(live.bytes(), 0);
}

TEST(BlockStore, EvictsTheEndOfAWayBeforeItsBeginning) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  {
    BlockStore store(folder, kind(), /*segment_bytes=*/4000);
    store.prepare();
    for (int i = 0; i < 10; ++i) store.append(head(i), page(i));
  }
  BlockStore store(folder, kind());
  store.shrink(store.bytes() / 2);
  const std::set<int> left = readable(folder);
  ASSERT_FALSE(left.empty());
  EXPECT_LT(left.size(), 10U);
  EXPECT_EQ(*left.rbegin(), std::ssize(left) - 1) << "not the first ones";
}

TEST(BlockStore, KeepsWithinItsBytes) {
  const tests::TempDir dir;
  const fs::path folder = dir.path() / "v1";
  for (int i = 0; i < 5; ++i) {
    BlockStore store(folder, kind("model" + std::to_string(i)));
    store.prepare();
    for (int j = 0; j < 10; ++j) store.append(head(j), page(j));
  }
  BlockStore store(folder, kind());
  const std::int64_t whole = store.bytes();
  store.shrink(whole / 2);
  EXPECT_LE(store.bytes(), whole / 2);
  EXPECT_GT(store.bytes(), whole / 4);
}

}  // namespace
}  // namespace fathom::engine
