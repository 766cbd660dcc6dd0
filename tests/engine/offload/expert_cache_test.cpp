// The cache of experts over a disk that does what the test says.
#include "engine/offload/expert_cache.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <numeric>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/weights/mapped_file.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kLayers = 3, kExperts = 8;
constexpr std::int64_t kMatrixBytes = 4 * kReadAlignment;
constexpr std::int64_t kExpertBytes = 3 * kMatrixBytes;

// Reads when the gate is open; pieces of experts on the list fail.
class ScriptedFile final : public WeightFile {
 public:
  explicit ScriptedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  int read(std::span<std::byte> to, std::int64_t offset) noexcept override {
    std::unique_lock lock(mutex_);
    experts_.push_back(static_cast<int>(offset / kExpertBytes));
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    if (bad_ == experts_.back()) return EIO;
    std::memcpy(to.data(), bytes_.data() + offset, to.size());
    return 0;
  }
  std::string sentence(int failure, std::int64_t offset) const override {
    return "weights: at byte " + std::to_string(offset) + ": " + std::strerror(failure);
  }

  void open(bool on = true) {
    const std::lock_guard lock(mutex_);
    open_ = on;
    changed_.notify_all();
  }
  void damage(int expert) {
    const std::lock_guard lock(mutex_);
    bad_ = expert;
  }
  void wait_for_reads(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return experts_.size() >= count; });
  }
  std::vector<int> experts() {  // in the order of reading: layer · kExperts + expert
    const std::lock_guard lock(mutex_);
    return experts_;
  }

 private:
  std::span<const std::byte> bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> experts_;
  bool open_ = true;
  int bad_ = -1;
};

std::string some_bytes() {
  std::string bytes(kLayers * kExperts * kExpertBytes, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 251);
  return bytes;
}

class ExpertCacheTest : public testing::Test {
 protected:
  ExpertCacheTest() {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int expert = 0; expert < kExperts; ++expert) {
        const std::byte* at = mapped_->bytes().data() + (layer * kExperts + expert) * kExpertBytes;
        blocks_[static_cast<std::size_t>(layer)].experts.push_back(
            {.w1 = matrix(at),
             .w3 = matrix(at + kMatrixBytes),
             .w2 = matrix(at + 2 * kMatrixBytes)});
      }
    }
  }
  ~ExpertCacheTest() override { file_->open(); }

  static Tensor matrix(const std::byte* data) {
    return {.format = Format::f32,
            .rows = 4,
            .columns = kMatrixBytes / 16,
            .row_bytes = kMatrixBytes / 4,
            .data = data};
  }

  // One reader: reads end in the order in which they begin.
  void make_cache(int frames) {
    auto file = std::make_unique<ScriptedFile>(mapped_->bytes());
    file_ = file.get();
    std::vector<std::unique_ptr<WeightFile>> files;
    files.push_back(std::move(file));
    cache_ = std::make_unique<ExpertCache>(
        std::vector<const BlockWeights*>{&blocks_[0], &blocks_[1], &blocks_[2]},
        std::span(&mapped_, 1), std::move(files),
        ExpertCacheOptions{.frames = frames,
                           .trunk_blocks = 2,
                           .experts_per_token = 2,
                           .readers = 1,
                           .left = [this] { return left_; },
                           .left_least = 1000,
                           .frames_least = 2});
  }

  ExpertCache::Visit visit(int layer, const std::vector<int>& experts,
                           ExpertCache::KeepWaiting keep_waiting = {}) {
    std::vector<Route> routes;
    for (const int expert : experts) routes.push_back({.expert = expert});
    return cache_->visit(block(layer), routes, 1, std::move(keep_waiting));
  }

  // The experts that a visit hands out, ascending; their bytes are checked.
  std::vector<int> hand_out(ExpertCache::Visit& visit, int layer) {
    std::vector<int> experts;
    for (auto come = visit.next(); !come.empty(); come = visit.next()) {
      for (const auto& arrival : come) {
        experts.push_back(arrival.expert);
        const ExpertWeights& stored =
            block(layer).experts[static_cast<std::size_t>(arrival.expert)];
        EXPECT_EQ(std::memcmp(arrival.weights->w1.data, stored.w1.data, kMatrixBytes), 0);
        EXPECT_EQ(std::memcmp(arrival.weights->w3.data, stored.w3.data, kMatrixBytes), 0);
        EXPECT_EQ(std::memcmp(arrival.weights->w2.data, stored.w2.data, kMatrixBytes), 0);
      }
    }
    std::ranges::sort(experts);
    return experts;
  }

  std::vector<int> ask(int layer, const std::vector<int>& experts) {
    ExpertCache::Visit asked = visit(layer, experts);
    std::vector<int> got = hand_out(asked, layer);
    EXPECT_TRUE(asked.finish());
    return got;
  }

  const BlockWeights& block(int layer) const { return blocks_[static_cast<std::size_t>(layer)]; }

  tests::TempDir folder_;
  std::shared_ptr<const MappedFile> mapped_ =
      std::make_shared<const MappedFile>(folder_.write("weights", some_bytes()));
  std::array<BlockWeights, kLayers> blocks_;
  ScriptedFile* file_ = nullptr;
  std::int64_t left_ = 1 << 30;  // what the system has left
  std::unique_ptr<ExpertCache> cache_;
};

const std::vector<int> kAll = {0, 1, 2, 3, 4, 5, 6, 7};

TEST_F(ExpertCacheTest, HandsOutEveryExpertOnceThroughFewerFrames) {
  for (const int frames : {1, 2, 3, 7}) {
    make_cache(frames);
    EXPECT_EQ(ask(0, kAll), kAll) << frames;
    EXPECT_EQ(ask(2, kAll), kAll) << frames;
    EXPECT_EQ(ask(0, {1, 5}), (std::vector{1, 5})) << frames;
  }
}

TEST_F(ExpertCacheTest, ReadsAgainOnlyWhatItHasNot) {
  make_cache(4);
  ask(0, {1, 2});
  ask(1, {3, 4});
  ask(0, {2, 1});
  ask(1, {4, 5});

  EXPECT_THAT(file_->experts(), ElementsAre(1, 2, kExperts + 3, kExperts + 4, kExperts + 5));
  EXPECT_EQ(cache_->reads().needed, 8);
  EXPECT_EQ(cache_->reads().hits, 3);
  EXPECT_EQ(cache_->reads().bytes, 5 * kExpertBytes);
}

TEST_F(ExpertCacheTest, HandsOutWhatIsThereBeforeItWaits) {
  make_cache(4);
  ask(0, {1});
  file_->open(false);

  ExpertCache::Visit asked = visit(0, {1, 2});
  const auto come = asked.next();
  ASSERT_EQ(come.size(), 1u);
  EXPECT_EQ(come.front().expert, 1);

  file_->open();
  EXPECT_EQ(hand_out(asked, 0), std::vector{2});
}

TEST_F(ExpertCacheTest, ReadsWhatIsWantedBeforeWhatIsGuessed) {
  make_cache(8);
  file_->open(false);
  const std::vector<int> guesses = {0, 1};
  cache_->expect(block(1), guesses, 1);
  file_->wait_for_reads(1);
  ExpertCache::Visit asked = visit(0, {5});
  file_->open();

  EXPECT_EQ(hand_out(asked, 0), std::vector{5});
  file_->wait_for_reads(3);
  EXPECT_THAT(file_->experts(), ElementsAre(kExperts, 5, kExperts + 1));
}

TEST_F(ExpertCacheTest, CountsARightGuessAsAHitAndReadsItOnce) {
  make_cache(8);
  const std::vector<int> guesses = {6};
  cache_->expect(block(1), guesses, 1);
  file_->wait_for_reads(1);
  ask(0, {5});  // one reader: the guess is read before
  EXPECT_EQ(ask(1, {6}), std::vector{6});

  EXPECT_THAT(file_->experts(), ElementsAre(kExperts + 6, 5));
  EXPECT_EQ(cache_->reads().hits, 1);
  EXPECT_EQ(cache_->reads().guesses, 1);
  EXPECT_EQ(cache_->reads().guesses_right, 1);
}

TEST_F(ExpertCacheTest, DoesNotReadGuessesThatTurnedOutWrong) {
  make_cache(8);
  file_->open(false);
  const std::vector<int> guesses = {0, 1, 2};
  cache_->expect(block(1), guesses, 1);
  file_->wait_for_reads(1);
  ExpertCache::Visit asked = visit(1, {2, 7});  // 0 cannot be taken back, 1 can
  file_->open();

  EXPECT_EQ(hand_out(asked, 1), (std::vector{2, 7}));
  EXPECT_THAT(file_->experts(),
              testing::UnorderedElementsAre(kExperts, kExperts + 2, kExperts + 7));
}

TEST_F(ExpertCacheTest, TakesRoomFromGuessesForWhatIsWanted) {
  make_cache(2);
  file_->open(false);
  const std::vector<int> guesses = {0, 1};
  cache_->expect(block(1), guesses, 1);
  file_->wait_for_reads(1);
  ExpertCache::Visit asked = visit(0, kAll);
  file_->open();

  EXPECT_EQ(hand_out(asked, 0), kAll);
}

TEST_F(ExpertCacheTest, AVisitThatCannotReadThrowsAndTheNextOneWorks) {
  make_cache(4);
  file_->damage(kExperts + 2);
  try {
    ask(1, kAll);
    FAIL() << "an expert could not be read";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("weights: at byte 491520: Input/output error"));
  }

  file_->damage(-1);
  EXPECT_EQ(ask(1, kAll), kAll);
}

TEST_F(ExpertCacheTest, AGuessThatCannotBeReadHurtsNobody) {
  make_cache(4);
  file_->damage(kExperts);
  const std::vector<int> guesses = {0};
  cache_->expect(block(1), guesses, 1);
  file_->wait_for_reads(1);
  ask(0, {1});  // one reader: the guess has failed before

  file_->damage(-1);
  EXPECT_EQ(ask(1, {0}), std::vector{0});
}

TEST_F(ExpertCacheTest, EndsAVisitThatIsTiredOfWaiting) {
  make_cache(4);
  file_->open(false);
  int asked_times = 0;
  ExpertCache::Visit asked = visit(0, {1}, [&] { return ++asked_times < 3; });

  EXPECT_TRUE(asked.next().empty());
  EXPECT_FALSE(asked.finish());
  EXPECT_EQ(asked_times, 3);
}

TEST_F(ExpertCacheTest, ThrowsWhatWasThrownWhileItWaited) {
  make_cache(4);
  file_->open(false);
  ExpertCache::Visit asked = visit(0, {1}, []() -> bool { throw std::runtime_error("mine"); });

  EXPECT_TRUE(asked.next().empty());
  EXPECT_THROW(asked.finish(), std::runtime_error);
}

TEST_F(ExpertCacheTest, AVisitLeftEarlyLetsItsFramesGo) {
  make_cache(2);
  ask(0, {0, 1});
  { const ExpertCache::Visit left = visit(0, {0, 1}); }

  EXPECT_EQ(ask(1, {2, 3}), (std::vector{2, 3}));
}

TEST_F(ExpertCacheTest, GivesFramesBackWhileTheSystemRunsShort) {
  make_cache(6);
  ask(0, {0, 1, 2, 3, 4, 5});
  const auto visit_often = [this] {
    for (int i = 0; i < 64; ++i) ask(0, {0});
  };
  left_ = 999 - kExpertBytes;  // two frames help
  visit_often();
  EXPECT_EQ(cache_->frames(), 4);
  left_ = -100 * kExpertBytes;
  visit_often();
  EXPECT_EQ(cache_->frames(), 2) << "the least";
  EXPECT_EQ(ask(1, kAll), kAll);

  left_ = 1 << 30;
  for (int i = 0; i < 10; ++i) visit_often();
  EXPECT_EQ(cache_->frames(), 6);
  EXPECT_EQ(ask(0, kAll), kAll);
}

TEST_F(ExpertCacheTest, KnowsTheBlocksOfTheTrunk) {
  make_cache(2);
  EXPECT_EQ(cache_->block_after(block(0), 1), &block(1));
  EXPECT_EQ(cache_->block_after(block(1), 1), nullptr) << "MTP";
}

// Experts of a file whose matrices lie misaligned were copied when it was loaded.
TEST_F(ExpertCacheTest, HandsOutExpertsThatLieInNoFileAsTheyAre) {
  const std::vector<std::byte> copy(static_cast<std::size_t>(kMatrixBytes));
  blocks_[0].experts[3].w2.data = copy.data();
  make_cache(2);

  ExpertCache::Visit asked = visit(0, {3});
  const auto come = asked.next();
  ASSERT_EQ(come.size(), 1u);
  EXPECT_EQ(come.front().weights->w2.data, copy.data());
  EXPECT_TRUE(file_->experts().empty());
}

}  // namespace
}  // namespace fathom::engine
