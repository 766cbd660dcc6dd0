// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tokenizer.h"

namespace fathom::engine {

struct Sampling {
  double temperature = 0;  // 0: always the likeliest, the lower id on ties; applied before the cuts
  double top_p = 1;        // smallest set of likeliest tokens whose probabilities reach this
  int top_k = 0;           // 0: all
  double min_p = 0;        // drops tokens below min_p times the likeliest one's probability
};

struct Sampled {
  Token token;
  float log_probability;  // natural log, at temperature 1 over all tokens that are not forbidden
};

// One stream of random numbers: the same seed, logits and options give the same tokens.
class Sampler {
 public:
  explicit Sampler(std::uint64_t seed) noexcept;

  // logits [vocab_size]. `forbidden` lists ids that are never chosen; it must not hold all of them.
  Sampled sample(std::span<const float> logits, const Sampling& options,
                 std::span<const Token> forbidden = {});

 private:
  double uniform() noexcept;  // in [0, 1)
  double cut_candidates(const Sampling& options);

  std::uint64_t state_;
  std::vector<Token> order_;        // candidates
  std::vector<float> probability_;  // [vocab_size] relative to the likeliest token's
};

}  // namespace fathom::engine
