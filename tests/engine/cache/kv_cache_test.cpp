// The cache's layout: what a token costs, and what is kept to go back.
#include "engine/cache/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cache/random_fill.h"
#include "engine/cache/snapshots.h"
#include "engine/error.h"

namespace fathom::engine {
namespace {

// V4-Flash as far as the cache sees it.
ModelConfig flash() {
  ModelConfig config;
  config.head_dim = 512;
  config.qk_rope_head_dim = 64;
  config.index_head_dim = 128;
  config.sliding_window = 128;
  config.compress_ratios = {0, 0};
  for (int layer = 2; layer < 43; ++layer) {
    config.compress_ratios.push_back(layer % 2 == 0 ? 4 : 128);
  }
  return config;
}

TEST(CacheShape, TakesThePublishedBytesOfFlash) {
  const ModelConfig config = flash();
  const CacheShape shape(config, Rounding::official, config.compress_ratios);
  EXPECT_EQ(shape.row.bytes, 584);
  EXPECT_EQ(shape.key.bytes, 68);
  EXPECT_EQ(static_cast<double>(shape.page_bytes) / kPageTokens, 3514.25);
  EXPECT_EQ(shape.fixed_bytes, 43 * 74'752 + 21 * 81'920 + 20 * 524'288);
}

TEST(CacheShape, RefusesWidthsThatDoNotFitTheOfficialRounding) {
  ModelConfig config = flash();
  config.head_dim = 500;
  EXPECT_THROW(CacheShape(config, Rounding::official, config.compress_ratios), Error);
  EXPECT_NO_THROW(CacheShape(config, Rounding::f16, config.compress_ratios));
}

TEST(KvCache, SharesPagesUntilOneSideWrites) {
  const ModelConfig config = flash();
  const auto shape =
      std::make_shared<CacheShape>(config, Rounding::official, config.compress_ratios);
  KvCache cache(shape);
  cache.reserve(200);
  cache.set_length(200);
  KvCache copy = cache;
  EXPECT_EQ(copy.page(0).data(), cache.page(0).data());
  copy.reserve(201);
  EXPECT_EQ(copy.page(0).data(), cache.page(0).data());  // full, never written again
  EXPECT_NE(copy.page(1).data(), cache.page(1).data());
}

TEST(RandomFill, WritesFiniteRowsThatDiffer) {
  for (const Rounding rounding : {Rounding::exact, Rounding::f16, Rounding::official}) {
    const ModelConfig config = flash();
    KvCache cache(std::make_shared<CacheShape>(config, rounding, config.compress_ratios));
    fill_random(cache, 700);
    EXPECT_EQ(cache.length(), 700);
    const RowTable tables[] = {cache.rows(2), cache.keys(2), cache.rows(3)};
    for (const RowTable& table : tables) {
      std::vector<float> one(static_cast<std::size_t>(table.format.width)), next(one.size());
      load(table.format, table.row(3), one.data());
      load(table.format, table.row(4), next.data());
      EXPECT_NE(one, next);
      for (const float value : one) EXPECT_LT(std::abs(value), 4.0F);
    }
  }
}

TEST(KvCache, NeverWritesAPageThatOthersMayRead) {
  const ModelConfig config = flash();
  const auto shape =
      std::make_shared<CacheShape>(config, Rounding::official, config.compress_ratios);
  KvCache cache(shape);
  cache.reserve(256);
  cache.set_length(100);
  Snapshot at_100;
  cache.capture(at_100);
  cache.set_length(256);
  const Page shared = cache.share_page(0);

  cache.go_back(at_100);
  cache.reserve(101);

  EXPECT_NE(cache.page(0).data(), shared.get());
}

TEST(KvCache, KeepsAtAMultipleOf128OnlyWhatLaterTokensNeed) {
  const ModelConfig config = flash();
  const CacheShape shape(config, Rounding::official, config.compress_ratios);
  EXPECT_EQ(shape.state_bytes(4096), 43 * 74'752 + 21 * 20'480);
  EXPECT_LE(shape.state_bytes(4096 + 127), shape.fixed_bytes + shape.page_bytes);
}

// One layer of each ratio, small enough to be written by hand.
std::shared_ptr<const CacheShape> small_shape() {
  ModelConfig config;
  config.head_dim = 16;
  config.qk_rope_head_dim = 8;
  config.index_head_dim = 8;
  config.sliding_window = 12;
  config.compress_ratios = {0, 4, 128};
  return std::make_shared<CacheShape>(config, Rounding::f16, config.compress_ratios);
}

void fill(std::byte* bytes, std::int64_t count, int value) {
  std::fill_n(bytes, count, static_cast<std::byte>(value));
}

void fill_slot(const Slots& slots, int position, int value) {
  const std::int64_t at = std::int64_t{position % slots.slots} * slots.width;
  std::fill_n(slots.values + at, slots.width, static_cast<float>(value));
  std::fill_n(slots.gates + at, slots.width, static_cast<float>(-value));
}

// What a pass over tokens [cache.length(), end) leaves: everything of a token says `value` of it.
template <class Value>
void run_pass(KvCache& cache, int end, Value&& value) {
  cache.reserve(end);
  for (int position = cache.length(); position < end; ++position) {
    for (int layer = 0; layer < 3; ++layer) {
      const int ratio = cache.shape().layers[static_cast<std::size_t>(layer)].ratio;
      const WindowRows window = cache.window(layer, nullptr);
      fill(window.ring + position % window.window * window.format.bytes, window.format.bytes,
           value(position));
      if (ratio != 0) fill_slot(cache.slots(layer), position, value(position));
      if (ratio == 4) fill_slot(cache.index_slots(layer), position, value(position));
      if (ratio == 0 || position % ratio != ratio - 1) continue;
      const RowTable rows = cache.rows(layer);
      fill(rows.row(position / ratio), rows.format.bytes, value(position));
      if (ratio != 4) continue;
      const RowTable keys = cache.keys(layer);
      fill(keys.row(position / ratio), keys.format.bytes, value(position));
    }
  }
  cache.set_length(end);
}

int accepted(int position) {
  return position % 120;
}
int rejected(int) {
  return 0x7B;
}

TEST(KvCache, TakesTokensBackAsIfTheyHadNeverBeen) {
  const auto shape = small_shape();
  for (const int before : {0, 1, 3, 4, 7, 8, 11, 13, 120, 124, 126, 127, 128, 130, 250, 256, 300}) {
    for (int certain = 0; certain <= 3; ++certain) {
      for (int taken = 0; certain + taken <= kUndoMax; ++taken) {
        KvCache never(shape);
        run_pass(never, before + certain, accepted);
        Snapshot expected;
        never.capture(expected);

        KvCache cache(shape);
        run_pass(cache, before, accepted);
        Undo undo;
        cache.keep_undo(certain, certain + taken, undo);
        run_pass(cache, before + certain, accepted);
        run_pass(cache, before + certain + taken, rejected);
        cache.take_back(before + certain, undo);

        Snapshot found;
        cache.capture(found);
        EXPECT_EQ(found.tokens, expected.tokens);
        EXPECT_EQ(found.bytes, expected.bytes) << before << " " << certain << " " << taken;
        EXPECT_EQ(cache.page_count(), never.page_count());
      }
    }
  }
}

TEST(KvCache, TakesBackSomeOfTheTokensThatItMay) {
  KvCache never(small_shape()), cache(small_shape());
  run_pass(never, 128, accepted);
  run_pass(cache, 125, accepted);
  Undo undo;
  cache.keep_undo(/*certain=*/1, /*rows=*/6, undo);
  run_pass(cache, 128, accepted);
  run_pass(cache, 131, rejected);
  cache.take_back(128, undo);  // keeps two that it might have taken back

  Snapshot expected, found;
  never.capture(expected);
  cache.capture(found);
  EXPECT_EQ(found.bytes, expected.bytes);
}

TEST(KvCache, TakingBackLeavesPagesThatOthersRead) {
  KvCache cache(small_shape());
  run_pass(cache, 126, accepted);
  KvCache fork = cache;
  Undo undo;
  cache.keep_undo(/*certain=*/0, /*rows=*/4, undo);
  run_pass(cache, 130, rejected);
  cache.take_back(126, undo);
  run_pass(cache, 140, accepted);

  run_pass(fork, 140, accepted);
  Snapshot expected, found;
  fork.capture(expected);
  cache.capture(found);
  EXPECT_EQ(found.bytes, expected.bytes);
  EXPECT_TRUE(std::ranges::equal(fork.page(0), cache.page(0)));
}

std::shared_ptr<const Snapshot> snapshot(int tokens) {
  auto made = std::make_shared<Snapshot>();
  made->tokens = tokens;
  return made;
}

TEST(Snapshots, StayDenseNearTheEndAndSparseFarFromIt) {
  Snapshots snapshots;
  int count = 0;
  for (int tokens = 128; tokens <= 1 << 17; tokens += 128) snapshots.add(snapshot(tokens));
  const int end = 1 << 17;
  for (int wanted = 128; wanted <= end; wanted += 128) {
    const auto found = snapshots.latest(wanted);
    const int computed = wanted - (found ? found->tokens : 0);
    EXPECT_LE(computed, (end - wanted) + 128) << wanted;
    count += snapshots.has(wanted) ? 1 : 0;
  }
  EXPECT_LE(count, 40);
}

TEST(Snapshots, ForgetWhatLiesAhead) {
  Snapshots snapshots;
  for (const int tokens : {100, 128, 256}) snapshots.add(snapshot(tokens));
  EXPECT_EQ(snapshots.latest(255)->tokens, 128);
  EXPECT_EQ(snapshots.latest(99), nullptr);
  snapshots.drop_after(128);
  EXPECT_EQ(snapshots.latest(1000)->tokens, 128);
}

}  // namespace
}  // namespace fathom::engine
