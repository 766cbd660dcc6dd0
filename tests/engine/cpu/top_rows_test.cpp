// Choosing rows, against sorting them.
#include "engine/cpu/top_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::engine::cpu {
namespace {

std::vector<std::int32_t> chosen_by(const Kernels& kernels, const std::vector<float>& scores,
                                    int wanted) {
  std::vector<std::uint32_t> ranks(scores.size());
  std::vector<std::int32_t> rows(static_cast<std::size_t>(wanted));
  top_rows(kernels, scores.data(), static_cast<int>(scores.size()), wanted, ranks.data(),
           rows.data());
  return rows;
}

// By the plain twin, and by every set that this machine has.
std::vector<std::int32_t> chosen(const std::vector<float>& scores, int wanted) {
  std::vector<std::int32_t> rows = chosen_by(kReference, scores, wanted);
  for (const Kernels* set : {&kAvx2, &kAvx512, &kAvx512Precise}) {
    if (!machine_has(set->name)) continue;
    EXPECT_EQ(chosen_by(*set, scores, wanted), rows) << set->name;
  }
  return rows;
}

std::vector<std::int32_t> sorted(const std::vector<float>& scores, int wanted) {
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(wanted));
  std::ranges::sort(order);
  return order;
}

TEST(TopRows, ChoosesWhatSortingChooses) {
  std::mt19937 random(3);
  for (const int count : {2, 3, 17, 600, 4095, 4096, 20011}) {
    // From all different to nearly all equal, with both signs and both zeros.
    for (const float steps : {1e6F, 40.0F, 1.0F}) {
      std::normal_distribution<float> normal(0, steps);
      std::vector<float> scores(static_cast<std::size_t>(count));
      for (float& score : scores) score = std::trunc(normal(random)) / 8;
      for (const int wanted : {1, count / 40 + 1, count / 3 + 1, count - 1}) {
        EXPECT_EQ(chosen(scores, wanted), sorted(scores, wanted)) << count << " " << wanted;
      }
    }
  }
}

// What every 32nd score says about the others is wrong here.
TEST(TopRows, ChoosesWhateverASampleSays) {
  std::vector<float> low(8192, 1), high(8192, 1), rising(8192), damaged(8192);
  for (std::size_t i = 0; i < low.size(); ++i) {
    if (i % 32 == 0) low[i] = 0;
    if (i % 32 == 0) high[i] = 2;
    rising[i] = static_cast<float>(i);
    damaged[i] = i % 3 == 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(i % 7);
  }
  for (const std::vector<float>& scores : {low, high, rising}) {
    for (const int wanted : {100, 600}) {
      EXPECT_EQ(chosen(scores, wanted), sorted(scores, wanted)) << wanted;
    }
  }
  for (std::size_t i = 0; i < 100; ++i)
    EXPECT_EQ(chosen(damaged, 100)[i], static_cast<std::int32_t>(3 * i));
}

TEST(TopRows, TakesTheLowerRowsOfEquals) {
  EXPECT_EQ(chosen({0, 1, -0.0F, 0, 0, 2, 0}, 4), (std::vector<std::int32_t>{0, 1, 2, 5}));
}

TEST(TopRows, EndsWhateverTheScoresAre) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(chosen({-kInfinity, 3, kInfinity, -kInfinity}, 3),
            (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(chosen({kNaN, 3, kNaN, 4}, 3), (std::vector<std::int32_t>{0, 2, 3}));
}

}  // namespace
}  // namespace fathom::engine::cpu
