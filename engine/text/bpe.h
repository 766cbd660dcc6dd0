// Byte-pair encoding: one piece of text to token ids.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"
#include "engine/tokenizer.h"

namespace fathom::engine {

// Two neighbours that become one token.
struct Merge {
  Token left = 0;
  Token right = 0;
  Token merged = 0;
};

// Immutable but for a cache of answers that any thread computes alike.
class Bpe {
 public:
  // `merges` in order of rank, best first; of a pair given twice the first counts. All 256 single
  // bytes must be findable in `vocabulary`.
  Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges);

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

  // Appends the ids of `piece`, which is not empty: the pair of lowest rank is merged, the leftmost
  // first, until no pair can be.
  void encode(std::string_view piece, std::vector<Token>& tokens) const;

  // The same, always by merging and in the plainest way: the definition.
  void encode_plainly(std::string_view piece, std::vector<Token>& tokens) const;

 private:
  struct Rule {
    Token left = -1;
    Token right = -1;
    std::int32_t rank = 0;
    Token merged = 0;
  };

  const Rule* find(Token left, Token right) const noexcept;
  void insert(const Rule& rule);
  void merge_short(std::string_view piece, std::vector<Token>& tokens) const;
  void merge_long(std::string_view piece, std::vector<Token>& tokens) const;
  void merge(std::string_view piece, std::vector<Token>& tokens) const;

  Vocabulary vocabulary_;
  std::vector<Rule> rules_;  // open addressing, at most half full
  std::array<Token, 256> byte_tokens_{};

  // Per token: whether merging its bytes yields just it, found out when first asked for. Most words
  // are such tokens, and one look-up then replaces all merges.
  enum class Whole : std::uint8_t { unknown, yes, no };
  mutable std::vector<std::atomic<Whole>> whole_;
};

}  // namespace fathom::engine
