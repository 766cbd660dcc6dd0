// What going back costs where no moment is kept, and over which pages.
#include "engine/cache/rebuild_plan.h"

#include <gtest/gtest.h>

#include "engine/config.h"

namespace fathom::engine {
namespace {

CacheShape shape_of(int layers, int window) {
  ModelConfig config;
  config.head_dim = 512;
  config.qk_rope_head_dim = 64;
  config.index_head_dim = 128;
  config.sliding_window = window;
  config.compress_ratios = std::vector<int>(static_cast<std::size_t>(layers), 4);
  return {config, Rounding::official, config.compress_ratios};
}

TEST(RebuildPlan, ComputesALayerMoreOnEveryPage) {
  const RebuildPlan plan(shape_of(/*layers=*/5, /*window=*/128), /*pages=*/100);

  EXPECT_EQ(plan.first_page(), 95);
  for (int page = 95; page < 100; ++page) EXPECT_EQ(plan.layers(page), page - 94);
  EXPECT_EQ(plan.tokens(), (1 + 2 + 3 + 4 + 5) * 128 / 5);
  EXPECT_EQ(plan.worth_a_moment_at(), 100 * 128 - 384);
}

TEST(RebuildPlan, NeedsMorePagesForWiderWindows) {
  const RebuildPlan plan(shape_of(/*layers=*/3, /*window=*/129), /*pages=*/100);

  EXPECT_EQ(plan.first_page(), 94);
  EXPECT_EQ(plan.layers(94), 1);
  EXPECT_EQ(plan.layers(95), 1);
  EXPECT_EQ(plan.layers(99), 3);
}

TEST(RebuildPlan, BeginsAtTheBeginningOfAShortTimeline) {
  const CacheShape shape = shape_of(/*layers=*/5, /*window=*/128);

  EXPECT_EQ(RebuildPlan(shape, 2).first_page(), 0);
  EXPECT_EQ(RebuildPlan(shape, 2).tokens(), 231);  // (4 + 5) · 128 / 5
  EXPECT_EQ(RebuildPlan(shape, 0).tokens(), 0);
}

// V4-Flash has 43 layers, V4-Pro 61. With the tokens of the page behind the place, that is what
// going back may cost at most.
TEST(RebuildPlan, CostsLessThan4096TokensInPublishedModels) {
  EXPECT_EQ(RebuildPlan(shape_of(43, 128), 4096).tokens(), 2816);
  EXPECT_LE(RebuildPlan(shape_of(61, 128), 4096).tokens() + kPageTokens - 1, 4096);
}

}  // namespace
}  // namespace fathom::engine
