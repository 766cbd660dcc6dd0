// Finds the score of the last chosen row by its leading bits first, then sorts out the few scores
// that share them; one more pass over the scores writes the rows. Nothing is sorted.
#include "engine/cpu/top_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <functional>

namespace fathom::engine::cpu {
namespace {

// Sign, exponent and two bits of the mantissa: counters of 8 KiB, a quarter of an L1 cache.
constexpr int kLeadingBits = 11;
constexpr int kRestBits = 32 - kLeadingBits;

// Integers in the order of the floats, also for infinities; NaN has its place too, so that a
// selection ends whatever the scores are.
std::uint32_t rank_of(float score) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0 ties with 0
  return bits ^ ((0U - (bits >> 31)) | 0x80000000U);
}

}  // namespace

void top_rows(const float* scores, int count, int wanted, std::uint32_t* ranks,
              std::int32_t* rows) noexcept {
  assert(0 < wanted && wanted < count);
  std::array<int, 1 << kLeadingBits> with_leading{};
  for (int j = 0; j < count; ++j) {
    ranks[j] = rank_of(scores[j]);
    ++with_leading[ranks[j] >> kRestBits];
  }
  std::uint32_t leading = with_leading.size() - 1;
  int open = wanted;  // places left for rows of these leading bits
  while (with_leading[leading] < open) open -= with_leading[leading--];

  int candidates = 0;
  for (int j = 0; j < count; ++j) {
    const std::uint32_t rank = ranks[j];
    ranks[candidates] = rank;
    candidates += static_cast<int>(rank >> kRestBits == leading);
  }
  std::nth_element(ranks, ranks + open - 1, ranks + candidates, std::greater<>());
  const std::uint32_t last = ranks[open - 1];
  auto ties = static_cast<int>(
      open - std::count_if(ranks, ranks + open, [last](std::uint32_t r) { return r > last; }));

  // Without branches: which rows are chosen has no pattern.
  for (int j = 0, found = 0; found < wanted; ++j) {
    const std::uint32_t rank = rank_of(scores[j]);
    const bool tie = rank == last;
    rows[found] = j;
    found += static_cast<int>(rank > last) | static_cast<int>(tie && ties > 0);
    ties -= static_cast<int>(tie);
  }
}

}  // namespace fathom::engine::cpu
