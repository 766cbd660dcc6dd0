// Integer products and the rounding of activations in AVX2, without VNNI.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include <immintrin.h>

#include "engine/cpu/products.h"
#include "engine/cpu/tiles.h"
#include "engine/weights/code_books.h"

#define VECTOR_TARGET [[gnu::target("avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

constexpr int kTileTokens = 4;  // 8 of 16 registers are sums; a product takes three for itself

#include "engine/cpu/avx2_bytes.h"

VECTOR_FUNCTION Bytes encode(Bytes weights) noexcept {
  return weights;
}
VECTOR_FUNCTION Bytes e2m1_doubled(Bytes codes) noexcept {
  return look_up(codes, _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
}
VECTOR_FUNCTION Bytes start(std::int32_t /*offset*/) noexcept {
  return _mm256_setzero_si256();
}

// The first factor must be without sign, so the weight's moves to x. Pairs stay below 2 · 128 · 127
// and do not saturate.
VECTOR_FUNCTION Bytes dot4(Bytes sum, Bytes weights, Bytes x) noexcept {
  const Bytes pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "engine/cpu/integer_layout.h"
#include "engine/cpu/integer_products.h"
#include "engine/cpu/quantised_layout.h"
#include "engine/cpu/quantised_products.h"

VECTOR_FUNCTION float largest_of(__m256 x) noexcept {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

VECTOR_FUNCTION std::int32_t sum_of(__m256i x) noexcept {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

VECTOR_FUNCTION void round_block(const float* x, Int8Block& block) noexcept {
  const __m256 infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
  __m256 values[4];
  __m256 largest = _mm256_setzero_ps();
  __m256 finite = _mm256_cmp_ps(largest, infinity, _CMP_LT_OQ);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    values[i] = _mm256_loadu_ps(x + 8 * i);
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0F), values[i]);
    finite = _mm256_and_ps(finite, _mm256_cmp_ps(size, infinity, _CMP_LT_OQ));
    largest = _mm256_max_ps(largest, size);
  }
  if (_mm256_movemask_ps(finite) != 0xFF) {
    block = {};
    block.scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const float magnitude = largest_of(largest);
  block.scale = magnitude / 127;
  const __m256 factor = _mm256_set1_ps(magnitude > kSmallestMagnitude ? 127 / magnitude : 0);
  __m256i integers[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    integers[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], factor));
  }
  const __m256i low = _mm256_packs_epi32(integers[0], integers[1]);
  const __m256i high = _mm256_packs_epi32(integers[2], integers[3]);
  // Packing works in halves: dwords come out in the order 0, 2, 4, 6, 1, 3, 5, 7.
  const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high),
                                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.values), packed);
  block.first_offset = -128 * sum_of(_mm256_add_epi32(integers[0], integers[1]));
  block.offset = block.first_offset - 128 * sum_of(_mm256_add_epi32(integers[2], integers[3]));
}

}  // namespace

VECTOR_TARGET void multiply_int8_avx2(const MultiplyTask& task) noexcept {
  multiply_integers(task);
}

VECTOR_TARGET void round_avx2(ActivationForm form, const float* x, std::int64_t columns,
                              std::byte* rounded) noexcept {
  if (form != ActivationForm::int8) return plain_round(form, x, columns, rounded);
  auto* blocks = reinterpret_cast<Int8Block*>(rounded);
  for (std::int64_t block = 0; block < columns / kBlock; ++block) {
    round_block(x + block * kBlock, blocks[block]);
  }
}

}  // namespace fathom::engine::cpu
