// How outcomes of one step share what the context can afford.
#include "agent/outcome_budget.h"

#include <array>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::agent {
namespace {

constexpr int kAll = std::numeric_limits<int>::max();

TEST(OutcomeLimit, LetsEverythingStayThatFits) {
  EXPECT_EQ(outcome_limit({}, 0, 100), kAll);
  EXPECT_EQ(outcome_limit(std::array{100}, 0, 100), kAll);
  EXPECT_EQ(outcome_limit(std::array{60, 10, 30}, 0, 100), kAll);
}

TEST(OutcomeLimit, CutsTheLargestFirst) {
  EXPECT_EQ(outcome_limit(std::array{10, 200, 30}, 0, 100), 60);
  EXPECT_EQ(outcome_limit(std::array{200, 10, 300}, 0, 100), 45);
  EXPECT_EQ(outcome_limit(std::array{200, 200, 200, 200}, 0, 100), 25);
}

TEST(OutcomeLimit, OnlyGrowsAsCallsEnd) {
  const std::vector<int> sizes = {90, 5, 200, 1, 40, 40, 0};
  int before = 0;
  for (int ended = 0; ended <= std::ssize(sizes); ++ended) {
    const int limit = outcome_limit(std::span(sizes).first(static_cast<std::size_t>(ended)),
                                    static_cast<int>(std::ssize(sizes)) - ended, 100);
    EXPECT_GE(limit, before) << ended << " calls have ended";
    before = limit;
  }
  int kept = 0;
  for (const int size : sizes) kept += std::min(size, before);
  EXPECT_LE(kept, 100);
}

}  // namespace
}  // namespace fathom::agent
