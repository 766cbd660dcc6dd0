// Attention and indexer kernels of single instruction sets: what the tables of kernels.h take
// `attend` and `index_scores` from when activations may be rounded.
#pragma once

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// Products in bf16, sums in f32; needs AVX-512 BF16. Rows of form packed_row are bf16 exactly, so
// only queries and softmax weights are rounded. Other rows go to kAvx512's.
void attend_bf16_avx512(const AttendTask& task) noexcept;
std::int64_t attend_scratch_bf16_avx512(int heads, int width, int count) noexcept;
int piece_rows_bf16_avx512(const RowFormat& format, int count) noexcept;
void attend_piece_bf16_avx512(const AttendTask& task, bool first, const AttendPart& part) noexcept;
void join_pieces_bf16_avx512(const AttendPart* pieces, int count, int width, float* out) noexcept;

// Needs AVX-512 F, BW, DQ and VL.
void finish_index_query_avx512(float* head, int width, bool rounds) noexcept;

// Products of whole numbers; needs AVX-512 VNNI. Keys and queries in FP4 are whole numbers of a
// unit, so nothing is rounded that f32 would not round: the scores are those of kAvx512 to the bit.
// Other keys go to kAvx512's.
void index_scores_avx512_vnni(const IndexTask& task) noexcept;
std::int64_t index_scratch_avx512_vnni(int heads, int width) noexcept;

// The same set with other kernels.
constexpr Kernels with_bf16_attention(Kernels set) noexcept {
  set.attend = attend_bf16_avx512;
  set.attend_scratch = attend_scratch_bf16_avx512;
  set.piece_rows = piece_rows_bf16_avx512;
  set.attend_piece = attend_piece_bf16_avx512;
  set.join_pieces = join_pieces_bf16_avx512;
  return set;
}
constexpr Kernels with_index(Kernels set, decltype(Kernels::index_scores) scores,
                             decltype(Kernels::index_scratch) scratch) noexcept {
  set.index_scores = scores;
  set.index_scratch = scratch;
  return set;
}

}  // namespace fathom::engine::cpu
