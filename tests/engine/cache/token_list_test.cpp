// Lists of ids that copies share.
#include "engine/cache/token_list.h"

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

std::vector<Token> ids(const TokenList& list) {
  return {list.begin(), list.end()};
}

TEST(TokenList, SharesItsIdsWithCopiesUntilOneGrows) {
  TokenList parent(std::vector<Token>{1, 2, 3});
  TokenList child = parent;
  EXPECT_EQ(child.data(), parent.data());

  child.append(std::vector<Token>{4});
  parent.append(std::vector<Token>{5, 6});

  EXPECT_EQ(ids(child), (std::vector<Token>{1, 2, 3, 4}));
  EXPECT_EQ(ids(parent), (std::vector<Token>{1, 2, 3, 5, 6}));
}

TEST(TokenList, WritesNothingThatACopyStillReads) {
  TokenList list(std::vector<Token>{1, 2, 3});
  const TokenList copy = list;
  list.shorten(1);
  list.append(std::vector<Token>{9});
  EXPECT_EQ(ids(list), (std::vector<Token>{1, 9}));
  EXPECT_EQ(ids(copy), (std::vector<Token>{1, 2, 3}));
}

TEST(TokenList, TakesUpWhereItWasShortened) {
  TokenList list(std::vector<Token>{1, 2, 3});
  list.shorten(2);
  list.shorten(5);
  list.append(std::vector<Token>{7});
  EXPECT_EQ(ids(list), (std::vector<Token>{1, 2, 7}));
}

}  // namespace
}  // namespace fathom::engine
