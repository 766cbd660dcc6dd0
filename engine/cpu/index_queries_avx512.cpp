// Indexer queries in AVX-512: the bits of plain_finish_index_query, for V4's width.
#include <cmath>

#include <immintrin.h>

#include "engine/cpu/attention_kernels.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

constexpr int kWidth = 128;
constexpr int kDoubles = 8;  // in a vector
constexpr int kVectors = kWidth / kDoubles;

// Sums of neighbours at some distance within a vector: `partners` are in each other's place, and
// `later` says which lanes stand behind theirs.
VECTOR_FUNCTION __m512d add_neighbours(__m512d x, __m512d partners, __mmask8 later) noexcept {
  return _mm512_mask_sub_pd(_mm512_add_pd(x, partners), later, partners, x);
}

VECTOR_FUNCTION void turn(float* head) noexcept {
  __m512d sums[kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kVectors; ++i) {
    __m512d x = _mm512_cvtps_pd(_mm256_loadu_ps(head + i * kDoubles));
    x = add_neighbours(x, _mm512_permute_pd(x, 0x55), 0xAA);
    x = add_neighbours(x, _mm512_permutex_pd(x, 0x4E), 0xCC);
    sums[i] = add_neighbours(x, _mm512_shuffle_f64x2(x, x, 0x4E), 0xF0);
  }
#pragma GCC unroll 4
  for (int half = 1; half < kVectors; half *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) {
      if ((i & half) != 0) continue;
      const __m512d a = sums[i], b = sums[i + half];
      sums[i] = _mm512_add_pd(a, b);
      sums[i + half] = _mm512_sub_pd(a, b);
    }
  }
  const __m512d scale = _mm512_set1_pd(1 / std::sqrt(kWidth));
#pragma GCC unroll 16
  for (int i = 0; i < kVectors; ++i) {
    _mm256_storeu_ps(head + i * kDoubles, _mm512_cvtpd_ps(_mm512_mul_pd(sums[i], scale)));
  }
}

// As f32_to_bf16 and back, of numbers that are finite before and after.
VECTOR_FUNCTION __m512 rounded_to_bf16(__m512 x) noexcept {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  return _mm512_castsi512_ps(
      _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
}

// The E2M1 value that a magnitude rounds to: it counts the midpoints below, and one that it equals
// if that leads to an even code, as f32_to_e2m1 does.
VECTOR_FUNCTION __m512 rounded_to_e2m1(__m512 magnitude) noexcept {
  __m512i code = _mm512_setzero_si512();
  const __m512i one = _mm512_set1_epi32(1);
  for (const float midpoint : {0.25F, 1.25F, 2.5F, 5.0F}) {
    const __mmask16 above = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(midpoint), _CMP_GT_OQ);
    code = _mm512_mask_add_epi32(code, above, code, one);
  }
  for (const float midpoint : {0.75F, 1.75F, 3.5F}) {
    const __mmask16 reached = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(midpoint), _CMP_GE_OQ);
    code = _mm512_mask_add_epi32(code, reached, code, one);
  }
  const __m512 values = _mm512_setr_ps(0, 0.5F, 1, 1.5F, 2, 3, 4, 6, 0, 0.5F, 1, 1.5F, 2, 3, 4, 6);
  return _mm512_permutexvar_ps(code, values);
}

VECTOR_FUNCTION void round_group(float* group) noexcept {
  static_assert(kKeyGroup == 32);
  const __m512 low = rounded_to_bf16(_mm512_loadu_ps(group));
  const __m512 high = rounded_to_bf16(_mm512_loadu_ps(group + 16));
  const float largest =
      _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
  const int exponent = key_exponent(largest);
  const __m512 scale = _mm512_set1_ps(std::ldexp(1.0F, exponent));
  const __m512 factor = _mm512_set1_ps(std::ldexp(1.0F, -exponent));
  const __m512 sign = _mm512_set1_ps(-0.0F);
  const __m512 a = rounded_to_e2m1(_mm512_mul_ps(_mm512_abs_ps(low), factor));
  const __m512 b = rounded_to_e2m1(_mm512_mul_ps(_mm512_abs_ps(high), factor));
  _mm512_storeu_ps(group, _mm512_or_ps(_mm512_mul_ps(a, scale), _mm512_and_ps(low, sign)));
  _mm512_storeu_ps(group + 16, _mm512_or_ps(_mm512_mul_ps(b, scale), _mm512_and_ps(high, sign)));
}

// Of NaN, infinity and what rounds to it there is none.
VECTOR_FUNCTION bool are_moderate(const float* head) noexcept {
  __mmask16 beyond = 0;
  for (int i = 0; i < kWidth; i += 16) {
    const __m512 magnitudes = _mm512_abs_ps(_mm512_loadu_ps(head + i));
    beyond |= _mm512_cmp_ps_mask(magnitudes, _mm512_set1_ps(0x1p126F), _CMP_NLE_UQ);
  }
  return beyond == 0;
}

}  // namespace

VECTOR_TARGET void finish_index_query_avx512(float* head, int width, bool rounds) noexcept {
  if (width != kWidth) return plain_finish_index_query(head, width, rounds);
  turn(head);
  if (!rounds) return;
  if (!are_moderate(head)) return round_key({head, kWidth});
  for (int i = 0; i < kWidth; i += kKeyGroup) round_group(head + i);
}

}  // namespace fathom::engine::cpu
