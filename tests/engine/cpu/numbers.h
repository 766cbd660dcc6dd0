// Random numbers for kernels, and how far sums of them may be apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace fathom::engine::cpu {

inline std::vector<float> random_values(std::int64_t count, unsigned seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::ranges::generate(values, [&] { return normal(random); });
  return values;
}

// A sum of n products rounds n times, each time by at most half a step of the largest partial sum:
// Σ|terms| · n · 2⁻²⁴ bounds it; a quarter of n is what random signs make likely, and then some.
inline float tolerance(double magnitude, std::int64_t terms) {
  return static_cast<float>(magnitude * (4 + static_cast<double>(terms) / 4) * 0x1.0p-24);
}

}  // namespace fathom::engine::cpu
