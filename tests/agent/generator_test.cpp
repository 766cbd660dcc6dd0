// What counts as a repetition.
#include "agent/generator.h"

#include <gtest/gtest.h>

namespace fathom::agent {
namespace {

std::vector<engine::Token> blocks(int length, int count) {
  std::vector<engine::Token> tokens;
  for (int i = 0; i < length * count; ++i) tokens.push_back(i % length);
  return tokens;
}

TEST(Repetition, IsABlockThreeTimesInARow) {
  EXPECT_TRUE(ends_in_repetition(blocks(32, 3), 96));
  EXPECT_TRUE(ends_in_repetition(blocks(50, 3), 96));
  EXPECT_TRUE(ends_in_repetition(blocks(1, 96), 96));
  EXPECT_FALSE(ends_in_repetition(blocks(50, 2), 96));
  EXPECT_FALSE(ends_in_repetition(blocks(1, 95), 96));
}

TEST(Repetition, MustReachTheEnd) {
  std::vector<engine::Token> tokens = blocks(32, 4);
  tokens.push_back(999);

  EXPECT_FALSE(ends_in_repetition(tokens, 96));
}

}  // namespace
}  // namespace fathom::agent
