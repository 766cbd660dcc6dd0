// Attention and indexer kernels of single instruction sets: what the tables of kernels.h take
// `attend` and `index_scores` from when activations may be rounded.
#pragma once

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// Products in bf16, sums in f32; needs AVX-512 BF16. Rows of form packed_row are bf16 exactly, so
// only queries and softmax weights are rounded. Other rows go to kAvx512's.
void attend_bf16_avx512(const AttendTask& task) noexcept;
std::int64_t attend_scratch_bf16_avx512(int heads, int width, int count) noexcept;

// Products of whole numbers; needs AVX-512 VNNI. Keys and queries in FP4 are whole numbers of a
// unit, so nothing is rounded that f32 would not round: the scores are those of kAvx512 to the bit.
// Other keys go to kAvx512's.
void index_scores_avx512_vnni(const IndexTask& task) noexcept;
std::int64_t index_scratch_avx512_vnni(int heads, int width) noexcept;

// The same set with other kernels.
constexpr Kernels with_attention(Kernels set, decltype(Kernels::attend) attend,
                                 decltype(Kernels::attend_scratch) scratch) noexcept {
  set.attend = attend;
  set.attend_scratch = scratch;
  return set;
}
constexpr Kernels with_index(Kernels set, decltype(Kernels::index_scores) scores,
                             decltype(Kernels::index_scratch) scratch) noexcept {
  set.index_scores = scores;
  set.index_scratch = scratch;
  return set;
}

}  // namespace fathom::engine::cpu
