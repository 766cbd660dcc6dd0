// Experts that a pass will want soon, so that the disk works while the cores do.
//
// Hash layers know theirs by the tokens alone. For the others the router of a coming layer looks at
// the input of this layer's experts: from one layer to the next the streams change little, so many
// of its choices come true, two layers ahead fewer. What it guesses costs nothing that is wanted
// now: see ExpertCache::expect.
#include <algorithm>
#include <array>
#include <vector>

#include "engine/model/parts.h"
#include "engine/weights/table.h"

namespace fathom::engine {
namespace {

// Chances of a guess to come true, by layers ahead. Assumed, not measured: they only rank guesses
// against one another and against what was used before.
constexpr std::array<double, 2> kChances = {0.5, 0.35};

// Has experts read, those that most tokens choose first.
void expect(Pass& pass, const BlockWeights& block, const std::vector<int>& counts, double chance) {
  const auto count = [&](int expert) { return counts[static_cast<std::size_t>(expert)]; };
  std::vector<int> experts;
  for (int expert = 0; expert < std::ssize(counts); ++expert) {
    if (count(expert) > 0) experts.push_back(expert);
  }
  std::ranges::stable_sort(experts, [&](int a, int b) { return count(a) > count(b); });
  pass.experts->expect(block, experts, chance);
}

void expect_by_tokens(Pass& pass, const BlockWeights& block, std::span<const Token> tokens) {
  std::vector<int> counts(block.experts.size());
  for (const Token token : tokens) {
    for (int i = 0; i < pass.config.num_experts_per_tok; ++i) {
      ++counts[static_cast<std::size_t>(table_entry(*block.tid2eid, token, i))];
    }
  }
  expect(pass, block, counts, /*chance=*/1);
}

void expect_by_router(Pass& pass, const BlockWeights& block, double chance) {
  const auto routes = static_cast<std::size_t>(pass.rows() * pass.config.num_experts_per_tok);
  const auto guesses = std::span(pass.space.guesses).first(routes);
  choose_experts(pass, block, guesses);
  std::vector<int> counts(block.experts.size());
  for (const Route& guess : guesses) ++counts[static_cast<std::size_t>(guess.expert)];
  expect(pass, block, counts, chance);
}

}  // namespace

void expect_hashed(Pass& pass, const ModelWeights& weights, std::span<const Token> tokens) {
  for (const BlockWeights& block : weights.layers) {
    if (block.tid2eid) expect_by_tokens(pass, block, tokens);
  }
}

void expect_next(Pass& pass, const BlockWeights& weights) {
  for (int step = 1; step <= std::ssize(kChances); ++step) {
    const BlockWeights* block = pass.experts->block_after(weights, step);
    if (block == nullptr) return;
    if (block->tid2eid) {
      expect_by_tokens(pass, *block, pass.tokens);
    } else {
      expect_by_router(pass, *block, kChances[static_cast<std::size_t>(step - 1)]);
    }
  }
}

}  // namespace fathom::engine
