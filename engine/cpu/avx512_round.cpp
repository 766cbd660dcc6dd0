// Rounding of activations in AVX-512, to the bits of plain_round.
#include <cstdint>
#include <cstring>
#include <limits>

#include <immintrin.h>

#include "engine/cpu/products.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

VECTOR_FUNCTION void round_block(const float* x, Int8Block& block) noexcept {
  const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
  const __m512 low_size = _mm512_abs_ps(low), high_size = _mm512_abs_ps(high);
  const float largest = _mm512_reduce_max_ps(_mm512_max_ps(low_size, high_size));
  const __m512 infinity = _mm512_set1_ps(std::numeric_limits<float>::infinity());
  const int finite = _mm512_cmp_ps_mask(low_size, infinity, _CMP_LT_OQ) &
                     _mm512_cmp_ps_mask(high_size, infinity, _CMP_LT_OQ);
  if (finite != 0xFFFF) {
    block = {};
    block.scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  block.scale = largest / 127;
  const __m512 factor = _mm512_set1_ps(largest > kSmallestMagnitude ? 127 / largest : 0);
  const __m512i first = _mm512_cvtps_epi32(_mm512_mul_ps(low, factor));
  const __m512i second = _mm512_cvtps_epi32(_mm512_mul_ps(high, factor));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(block.values), _mm512_cvtepi32_epi8(first));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(block.values + 16), _mm512_cvtepi32_epi8(second));
  block.first_offset = -128 * _mm512_reduce_add_epi32(first);
  block.offset = block.first_offset - 128 * _mm512_reduce_add_epi32(second);
}

// 16 floats to bf16, ties to even; NaN stays a quiet NaN.
VECTOR_FUNCTION __m256i to_bf16(__m512 x) noexcept {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}

VECTOR_FUNCTION void round_bf16(const float* x, std::int64_t columns, std::byte* rounded) noexcept {
  const std::int64_t padded = (columns + kBlock - 1) / kBlock * kBlock;
  for (std::int64_t c = 0; c < padded; c += 16) {
    const std::int64_t left = columns - c;
    const auto lanes = static_cast<__mmask16>(left >= 16 ? 0xFFFF : left > 0 ? (1 << left) - 1 : 0);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rounded + 2 * c),
                        to_bf16(_mm512_maskz_loadu_ps(lanes, x + c)));
  }
}

}  // namespace

VECTOR_TARGET void round_avx512(ActivationForm form, const float* x, std::int64_t columns,
                                std::byte* rounded) noexcept {
  if (form == ActivationForm::bf16) return round_bf16(x, columns, rounded);
  auto* blocks = reinterpret_cast<Int8Block*>(rounded);
  for (std::int64_t block = 0; block < columns / kBlock; ++block) {
    round_block(x + block * kBlock, blocks[block]);
  }
}

}  // namespace fathom::engine::cpu
