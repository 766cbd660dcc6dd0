// Draws tokens: temperature, then top-k, top-p and min-p on the sorted probabilities.
#include "engine/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace fathom::engine {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): one addition and one mix per number, and any seed is good.
std::uint64_t next_random(std::uint64_t& state) noexcept {
  state += 0x9E3779B97F4A7C15U;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
  return mixed ^ (mixed >> 31);
}

std::size_t size(Token token) noexcept {
  return static_cast<std::size_t>(token);
}

}  // namespace

Sampler::Sampler(std::uint64_t seed) noexcept : state_(seed) {}

double Sampler::uniform() noexcept {
  return static_cast<double>(next_random(state_) >> 11) * 0x1.0p-53;
}

// Keeps the candidates that top-k, top-p and min-p leave, best first where an order is needed, and
// returns the sum of their probabilities. probability_ [vocab] is relative to the likeliest token.
double Sampler::cut_candidates(const Sampling& options) {
  const auto better = [&](Token a, Token b) {
    const float p = probability_[size(a)];
    const float q = probability_[size(b)];
    return p != q ? p > q : a < b;
  };
  const auto sum = [&](auto begin, auto end) {
    return std::accumulate(begin, end, 0.0,
                           [&](double total, Token t) { return total + probability_[size(t)]; });
  };
  if (options.top_k > 0 && options.top_k < std::ssize(order_)) {
    std::ranges::partial_sort(order_, order_.begin() + options.top_k, better);
    order_.resize(static_cast<std::size_t>(options.top_k));
  }
  const double total = sum(order_.begin(), order_.end());
  if (options.top_p >= 1) return total;

  // Few tokens reach top_p, so only as many are sorted as it takes, in growing runs.
  double reached = 0;
  std::ptrdiff_t sorted = 0;
  for (std::ptrdiff_t kept = 0; kept < std::ssize(order_); ++kept) {
    if (kept == sorted) {
      sorted = std::min(std::ssize(order_), std::max(kept * 4, std::ptrdiff_t{64}));
      std::partial_sort(order_.begin() + kept, order_.begin() + sorted, order_.end(), better);
    }
    reached += probability_[size(order_[static_cast<std::size_t>(kept)])];
    if (reached >= options.top_p * total) {
      order_.resize(static_cast<std::size_t>(kept + 1));
      return reached;
    }
  }
  return reached;
}

Sampled Sampler::sample(std::span<const float> logits, const Sampling& options,
                        std::span<const Token> forbidden) {
  assert(forbidden.size() < logits.size() && std::isfinite(options.temperature));
  probability_.assign(logits.begin(), logits.end());
  for (const Token t : forbidden) probability_[size(t)] = -std::numeric_limits<float>::infinity();
  const auto best =
      static_cast<Token>(std::ranges::max_element(probability_) - probability_.begin());
  const float largest = probability_[size(best)];
  double total = 0;
  for (const float logit : probability_) total += std::exp(logit - largest);
  const auto sampled = [&](Token t) {
    return Sampled{t, static_cast<float>(logits[size(t)] - largest - std::log(total))};
  };
  if (options.temperature <= 0) return sampled(best);

  // Temperature first: the cuts judge the distribution that is drawn from.
  order_.clear();
  for (std::size_t i = 0; i < probability_.size(); ++i) {
    const double cooled = (probability_[i] - largest) / options.temperature;
    probability_[i] = static_cast<float>(std::exp(cooled));
    if (probability_[i] > 0 && probability_[i] >= options.min_p) {
      order_.push_back(static_cast<Token>(i));
    }
  }
  double left = uniform() * cut_candidates(options);
  for (const Token t : order_) {
    left -= probability_[size(t)];
    if (left < 0) return sampled(t);
  }
  return sampled(order_.back());  // rounding left a crumb
}

}  // namespace fathom::engine
