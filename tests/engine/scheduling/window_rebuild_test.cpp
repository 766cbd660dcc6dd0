// Sessions that find blocks of a timeline and no moment of it: they compute windows again, and have
// the bits of a run that computed everything.
#include "engine/scheduling/window_rebuild.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cpu/kernels.h"
#include "engine/error.h"
#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "test_paths.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

// Of the model, which has 5 layers: (1 + 2 + 3 + 4 + 5) · 128 / 5.
constexpr int kRebuild = 384;

std::shared_ptr<const Engine> load(EngineOptions options) {
  options.threads = 1;
  return Engine::load(fs::path(FATHOM_SHARED) / "golden" / "gb" / "hf", options);
}

std::shared_ptr<const Engine> engine() {
  static const auto kEngine = load({});
  return kEngine;
}

std::vector<Token> some_tokens(int count) {
  std::mt19937 random(1);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 300); });
  return tokens;
}

std::vector<Token> first_and(const std::vector<Token>& tokens, int count, Token last) {
  std::vector<Token> prompt(tokens.begin(), tokens.begin() + count);
  prompt.push_back(last);
  return prompt;
}

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

std::vector<float> fresh_logits(const std::shared_ptr<const Engine>& engine,
                                std::span<const Token> tokens) {
  Session session(engine);
  session.sync(tokens, {}, {});
  return copy(session.logits());
}

// A cache that has the blocks of `tokens`, of another run, and none of its moments.
std::shared_ptr<PrefixCache> cache_with_blocks(const std::shared_ptr<const Engine>& engine,
                                               const fs::path& folder,
                                               std::span<const Token> tokens) {
  const auto open = [&] {
    return std::make_shared<PrefixCache>(*engine, PrefixCacheOptions{.folder = folder});
  };
  Session(engine, open(), "a").sync(tokens, {}, {});
  for (const auto& entry : fs::directory_iterator(folder / "v1")) {
    if (entry.path().extension() == ".moment") fs::remove(entry.path());
  }
  return open();
}

class WindowRebuild : public testing::Test {
 protected:
  const std::vector<Token> tokens_ = some_tokens(2000);
  const tests::TempDir dir_;
  const std::shared_ptr<PrefixCache> cache_ = cache_with_blocks(engine(), dir_.path(), tokens_);
};

TEST_F(WindowRebuild, ReachesEveryPlaceOfATimelineWithoutMoments) {
  for (const int place : {1999, 1536, 1409, 1300, 641}) {
    Session session(engine(), cache_);
    const auto prompt = first_and(tokens_, place, 7);
    EXPECT_EQ(session.to_compute(prompt), kRebuild + place % 128 + 1) << place;

    const Prefill prefill = session.sync(prompt, {}, {});

    EXPECT_EQ(prefill.rebuilt, kRebuild) << place;
    EXPECT_EQ(prefill.prefilled, kRebuild + place % 128 + 1) << place;
    EXPECT_EQ(prefill.reused + prefill.prefilled, place + 1) << place;
    EXPECT_EQ(copy(session.logits()), fresh_logits(engine(), prompt)) << place;
    session.append(8);
    EXPECT_EQ(copy(session.logits()), fresh_logits(engine(), first_and(prompt, place + 1, 8)));
  }
}

TEST_F(WindowRebuild, IsDoneOnceForAPlace) {
  Session one(engine(), cache_), two(engine(), cache_);
  const auto prompt = first_and(tokens_, 1700, 7);
  one.sync(prompt, {}, {});

  EXPECT_EQ(two.sync(prompt, {}, {}).rebuilt, 0);
  EXPECT_EQ(two.sync(first_and(tokens_, 1710, 7), {}, {}).rebuilt, 0);
}

TEST_F(WindowRebuild, IsLeftOutWhereComputingCostsLess) {
  Session near(engine(), cache_), far(engine(), cache_);
  near.sync(first_and(tokens_, 1400, 7), {}, {});
  far.sync(first_and(tokens_, 1400, 7), {}, {});

  EXPECT_EQ(far.sync(first_and(tokens_, 1999, 7), {}, {}).rebuilt, kRebuild);
  EXPECT_EQ(near.sync(first_and(tokens_, 1640, 7), {}, {}).rebuilt, 0);
}

TEST_F(WindowRebuild, TellsHowFarItIsAndStops) {
  Session session(engine(), cache_);
  const auto prompt = first_and(tokens_, 1999, 7);
  std::stop_source source;
  source.request_stop();

  const Prefill stopped = session.sync(prompt, {}, source.get_token());
  EXPECT_EQ(stopped.reused + stopped.prefilled, 0);
  EXPECT_TRUE(session.tokens().empty());

  std::vector<int> done;
  session.sync(prompt,
               [&](int now, int total) {
                 done.push_back(now);
                 EXPECT_EQ(total, kRebuild + 1999 % 128 + 1);
               },
               {});
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(copy(session.logits()), fresh_logits(engine(), prompt));
}

TEST_F(WindowRebuild, GoesOnFromTheBlockBeforeADamagedOne) {
  for (const auto& entry : fs::directory_iterator(dir_.path() / "v1")) {
    if (entry.path().extension() != ".rows") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(entry.path()) - 1000));
    file.put('?');
  }
  Session session(engine(), cache_);
  const auto prompt = first_and(tokens_, 1999, 7);

  const Prefill prefill = session.sync(prompt, {}, {});

  EXPECT_EQ(prefill.damaged, 1);
  EXPECT_EQ(prefill.prefilled, kRebuild + 2000 - 1999 / 128 * 128 + 128);
  EXPECT_EQ(copy(session.logits()), fresh_logits(engine(), prompt));
}

TEST_F(WindowRebuild, ChangesNoBitOfWhoComputesBeside) {
  std::jthread other([&] {
    Session session(engine());
    for (int i = 0; i < 60; ++i) session.append(tokens_[static_cast<std::size_t>(i)]);
    EXPECT_EQ(copy(session.logits()), fresh_logits(engine(), std::span(tokens_).first(60)));
  });
  for (const int place : {1999, 1700, 1400}) {
    Session session(engine(), cache_);
    const auto prompt = first_and(tokens_, place, 7);
    session.sync(prompt, {}, {});
    EXPECT_EQ(copy(session.logits()), fresh_logits(engine(), prompt)) << place;
  }
}

TEST(WindowRebuildOf, GivesTheSameBitsInEveryKernelSetAndRounding) {
  const auto tokens = some_tokens(1000);
  const auto prompt = first_and(tokens, 900, 7);
  for (const std::string_view kernels : cpu::kernel_names()) {
    if (!cpu::machine_has(kernels)) continue;
    for (const Rounding rounding : {Rounding::exact, Rounding::f16, Rounding::official}) {
      const auto engine = load({.kernels = std::string(kernels), .rounding = rounding});
      const tests::TempDir dir;
      Session session(engine, cache_with_blocks(engine, dir.path(), tokens));
      EXPECT_EQ(session.sync(prompt, {}, {}).rebuilt, kRebuild);
      EXPECT_EQ(copy(session.logits()), fresh_logits(engine, prompt))
          << kernels << ", rounding " << static_cast<int>(rounding);
    }
  }
}

}  // namespace
}  // namespace fathom::engine
