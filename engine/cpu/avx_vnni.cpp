// Integer products in AVX-VNNI: four 8-bit products a lane and instruction, eight lanes.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/products.h"
#include "engine/cpu/tiles.h"
#include "engine/weights/code_books.h"

#define VECTOR_TARGET [[gnu::target("avxvnni,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

constexpr int kTileTokens = 6;  // 6 integer and 6 float sums of 16 registers

#include "engine/cpu/avx2_bytes.h"

// The instruction takes its first factor without sign: weights are stored with 128 added, and what
// that adds to the sum is taken off where the sum starts.
VECTOR_FUNCTION Bytes encode(Bytes weights) noexcept {
  return _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
}
VECTOR_FUNCTION Bytes e2m1_doubled(Bytes codes) noexcept {
  const __m128i values = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  return look_up(codes, _mm_xor_si128(values, _mm_set1_epi8(-128)));
}
VECTOR_FUNCTION Bytes start(std::int32_t offset) noexcept {
  return _mm256_set1_epi32(offset);
}
VECTOR_FUNCTION Bytes dot4(Bytes sum, Bytes weights, Bytes x) noexcept {
  return _mm256_dpbusd_avx_epi32(sum, weights, x);
}

#include "engine/cpu/integer_layout.h"
#include "engine/cpu/integer_products.h"
#include "engine/cpu/quantised_layout.h"
#include "engine/cpu/quantised_products.h"

}  // namespace

VECTOR_TARGET void multiply_int8_avx_vnni(const MultiplyTask& task) noexcept {
  multiply_integers(task);
}

}  // namespace fathom::engine::cpu
