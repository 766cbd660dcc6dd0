// Byte-pair encoding: the fast ways against the plain one.
#include "engine/text/bpe.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

using testing::ElementsAre;

// All single bytes have their value as id; each merge makes the next id.
struct Toy {
  explicit Toy(const std::vector<std::pair<std::string, std::string>>& pairs) : vocabulary(4) {
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    for (const auto& [left, right] : pairs) {
      const auto first = vocabulary.find(left), second = vocabulary.find(right);
      const auto known = vocabulary.find(left + right);
      merges.push_back({*first, *second, known ? *known : add(left + right)});
    }
  }

  Token add(const std::string& bytes) {
    const Token token = vocabulary.size();
    vocabulary.set(token, bytes);
    vocabulary.make_findable(token);
    return token;
  }

  Bpe bpe() && { return Bpe(std::move(vocabulary), merges); }

  Vocabulary vocabulary;
  std::vector<Merge> merges;
};

std::vector<Token> encode(const Bpe& bpe, std::string_view piece) {
  std::vector<Token> tokens;
  bpe.encode(piece, tokens);
  return tokens;
}

TEST(Bpe, MergesTheLowestRankLeftmostFirst) {
  const Bpe bpe = Toy({{"a", "a"}, {"aa", "b"}, {"a", "b"}}).bpe();

  EXPECT_THAT(encode(bpe, "aaab"), ElementsAre(256, 258));
  EXPECT_THAT(encode(bpe, "aab"), ElementsAre(257));
}

// "abc" is a token, but its merges never meet: "ab" goes first and "abc" needs "bc".
TEST(Bpe, DoesNotTakeAWholePieceThatMergingDoesNotYield) {
  const Bpe bpe = Toy({{"a", "b"}, {"b", "c"}, {"a", "bc"}}).bpe();

  EXPECT_THAT(encode(bpe, "abc"), ElementsAre(256, 'c'));
  EXPECT_THAT(encode(bpe, "abc"), ElementsAre(256, 'c'));  // now from the cache
}

TEST(Bpe, AgreesWithThePlainWayOnShortAndLongPieces) {
  std::mt19937 random(7);
  std::vector<std::pair<std::string, std::string>> pairs;
  std::vector<std::string> tokens = {"a", "b", "c", "d"};
  for (int i = 0; i < 60; ++i) {
    const std::string left = tokens[random() % tokens.size()];
    const std::string right = tokens[random() % tokens.size()];
    pairs.emplace_back(left, right);
    tokens.push_back(left + right);
  }
  const Bpe bpe = Toy(pairs).bpe();
  for (int round = 0; round < 2000; ++round) {
    std::string piece;
    for (auto n = 1 + random() % 120; n > 0; --n) piece += "abcde"[random() % 5];
    std::vector<Token> plain;
    bpe.encode_plainly(piece, plain);
    ASSERT_EQ(encode(bpe, piece), plain) << piece;
  }
}

}  // namespace
}  // namespace fathom::engine
