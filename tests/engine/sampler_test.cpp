// What the sampler draws, by counting.
#include "engine/sampler.h"

#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

// Logits whose probabilities at temperature 1 are the given ones.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

constexpr int kDraws = 20'000;

std::map<Token, int> count_draws(const std::vector<float>& logits, const Sampling& options,
                                 const std::vector<Token>& forbidden = {}) {
  Sampler sampler(42);
  std::map<Token, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(logits, options, forbidden).token];
  return counts;
}

// Five standard deviations of a count with probability p: one false alarm in a million.
void expect_share(const std::map<Token, int>& counts, Token token, double p) {
  const auto found = counts.find(token);
  const int count = found == counts.end() ? 0 : found->second;
  EXPECT_NEAR(count, kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)) + 1e-9) << "token " << token;
}

const std::vector<float> kLogits = logits_of({0.1, 0.4, 0.2, 0.3});

TEST(Sampler, TakesTheLikeliestAtTemperatureZeroAndTheLowerIdOnTies) {
  Sampler sampler(1);
  EXPECT_EQ(sampler.sample(kLogits, {}).token, 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 7, 7, 2}, {}).token, 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-0.0F, 0.0F}, {}).token, 0);
}

TEST(Sampler, DrawsInProportion) {
  const auto counts = count_draws(kLogits, {.temperature = 1});
  for (const auto& [token, p] : {std::pair{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}}) {
    expect_share(counts, token, p);
  }
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  // p^(1/T): squares at 0.5, square roots at 2.
  const double squares = 0.01 + 0.16 + 0.04 + 0.09;
  expect_share(count_draws(kLogits, {.temperature = 0.5}), 1, 0.16 / squares);
  const double roots = std::sqrt(0.1) + std::sqrt(0.4) + std::sqrt(0.2) + std::sqrt(0.3);
  expect_share(count_draws(kLogits, {.temperature = 2}), 1, std::sqrt(0.4) / roots);
}

TEST(Sampler, TopKKeepsTheBest) {
  const auto counts = count_draws(kLogits, {.temperature = 1, .top_k = 2});
  expect_share(counts, 1, 0.4 / 0.7);
  expect_share(counts, 3, 0.3 / 0.7);
  EXPECT_EQ(counts.size(), 2U);
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  const auto counts = count_draws(kLogits, {.temperature = 1, .top_p = 0.65});
  EXPECT_EQ(counts.size(), 2U);
  expect_share(counts, 1, 0.4 / 0.7);
  EXPECT_EQ(count_draws(kLogits, {.temperature = 1, .top_p = 0.75}).size(), 3U);
  EXPECT_EQ(count_draws(kLogits, {.temperature = 1, .top_p = 0}).size(), 1U);
}

TEST(Sampler, TopPSortsNoMoreThanItNeeds) {
  const std::vector<float> flat(5000, 0.5F);  // more than one run of the sort
  const auto counts = count_draws(flat, {.temperature = 1, .top_p = 0.1});
  EXPECT_LT(counts.rbegin()->first, 501);  // ties: the lower ids
  EXPECT_GT(counts.size(), 400U);
}

TEST(Sampler, MinPDropsTheUnlikely) {
  const auto counts = count_draws(kLogits, {.temperature = 1, .min_p = 0.6});
  EXPECT_EQ(counts.size(), 2U);  // 0.4 and 0.3 are at least 0.24
}

TEST(Sampler, NeverChoosesForbiddenTokens) {
  const auto counts = count_draws(kLogits, {.temperature = 1}, {1, 2});
  expect_share(counts, 0, 0.25);
  expect_share(counts, 3, 0.75);
  Sampler sampler(1);
  EXPECT_EQ(sampler.sample(kLogits, {}, std::vector<Token>{1}).token, 3);
}

TEST(Sampler, ReportsLogProbabilitiesAtTemperatureOne) {
  Sampler sampler(1);
  EXPECT_NEAR(sampler.sample(kLogits, {}).log_probability, std::log(0.4), 1e-6);
  const Sampled sampled = sampler.sample(kLogits, {.temperature = 0.1}, std::vector<Token>{1});
  EXPECT_EQ(sampled.token, 3);
  EXPECT_NEAR(sampled.log_probability, std::log(0.3 / 0.6), 1e-6);
}

TEST(Sampler, RepeatsWithItsSeed) {
  const std::vector<float> flat(1000, 0.0F);
  Sampler a(7), b(7), c(8);
  int same = 0;
  for (int i = 0; i < 100; ++i) {
    const Token drawn = a.sample(flat, {.temperature = 1}).token;
    EXPECT_EQ(drawn, b.sample(flat, {.temperature = 1}).token);
    same += drawn == c.sample(flat, {.temperature = 1}).token ? 1 : 0;
  }
  EXPECT_LT(same, 10);
}

}  // namespace
}  // namespace fathom::engine
