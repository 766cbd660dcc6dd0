// Nothing is sorted. Of many scores, every 32nd tells about where the threshold lies; one pass
// collects the scores that reach it, and the exact threshold is found among those. Of few, and
// where that guess was wrong, the threshold is found by its leading bits first, then among the
// scores that share them, and one more pass writes the rows.
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

constexpr int kSampleStep = 32;
constexpr int kSampledMin = 4096;  // a sample of fewer says too little

// Integers in the order of the floats, also for infinities; NaN has its place too, so that a
// selection ends whatever the scores are.
std::uint32_t rank_of(float score) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0 ties with 0
  return bits ^ ((0U - (bits >> 31)) | 0x80000000U);
}

float score_of(std::uint32_t rank) noexcept {
  return std::bit_cast<float>(rank >> 31 != 0 ? rank ^ 0x80000000U : ~rank);
}

// Scores of a rank above `last` are chosen, and the first `ties` of those that have it.
struct Cut {
  std::uint32_t last = 0;
  int ties = 0;

  bool takes(std::uint32_t rank) noexcept {
    const bool tie = rank == last;
    const bool taken = static_cast<int>(rank > last) | static_cast<int>(tie && ties > 0);
    ties -= static_cast<int>(tie);
    return taken;
  }
};

// For `wanted` of the ranks, which it reorders.
Cut cut_at(std::uint32_t* ranks, int count, int wanted) noexcept {
  std::nth_element(ranks, ranks + wanted - 1, ranks + count, std::greater<>());
  const std::uint32_t last = ranks[wanted - 1];
  const auto above =
      std::count_if(ranks, ranks + wanted, [last](std::uint32_t rank) { return rank > last; });
  return {.last = last, .ties = wanted - static_cast<int>(above)};
}

// A score that somewhat more than `wanted` others reach, if they are spread like the sample. The
// sampled ones among the wanted are binomial with mean wanted / 32: more than twice that and eight
// fall short less than once in a million times.
float guess(const float* scores, int count, int wanted, std::uint32_t* ranks) noexcept {
  const int samples = count / kSampleStep;
  for (int i = 0; i < samples; ++i) ranks[i] = rank_of(scores[i * kSampleStep]);
  const int place = std::min(samples - 1, 2 * wanted / kSampleStep + 8);
  std::nth_element(ranks, ranks + place, ranks + samples, std::greater<>());
  return score_of(ranks[place]);
}

// False, without rows, if too few or very many scores reach the guess.
bool choose_by_guess(const Kernels& kernels, const float* scores, int count, int wanted,
                     std::uint32_t* ranks, std::int32_t* rows) noexcept {
  const float threshold = guess(scores, count, wanted, ranks);
  const int found = kernels.list_reaching(scores, count, threshold, ranks);
  if (found < wanted || found > count / 2) return false;
  std::uint32_t* found_ranks = ranks + found;
  for (int i = 0; i < found; ++i) found_ranks[i] = rank_of(scores[ranks[i]]);
  Cut cut = cut_at(found_ranks, found, wanted);
  for (int i = 0, chosen = 0; chosen < wanted; ++i) {
    rows[chosen] = static_cast<std::int32_t>(ranks[i]);
    chosen += static_cast<int>(cut.takes(rank_of(scores[ranks[i]])));
  }
  return true;
}

void choose_by_counting(const float* scores, int count, int wanted, std::uint32_t* ranks,
                        std::int32_t* rows) noexcept {
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
  Cut cut = cut_at(ranks, candidates, open);
  // Without branches: which rows are chosen has no pattern.
  for (int j = 0, chosen = 0; chosen < wanted; ++j) {
    rows[chosen] = j;
    chosen += static_cast<int>(cut.takes(rank_of(scores[j])));
  }
}

}  // namespace

void top_rows(const Kernels& kernels, const float* scores, int count, int wanted,
              std::uint32_t* ranks, std::int32_t* rows) noexcept {
  assert(0 < wanted && wanted < count);
  if (count >= kSampledMin && choose_by_guess(kernels, scores, count, wanted, ranks, rows)) return;
  choose_by_counting(scores, count, wanted, ranks, rows);
}

}  // namespace fathom::engine::cpu
