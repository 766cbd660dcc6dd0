// Integer products in AVX-512 VNNI: four 8-bit products a lane and instruction.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/products.h"
#include "engine/cpu/tiles.h"
#include "engine/weights/code_books.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

#include "engine/cpu/avx512_bytes.h"

// The instruction takes its first factor without sign: weights are stored with 128 added, and what
// that adds to the sum is taken off where the sum starts.
VECTOR_FUNCTION Bytes encode(Bytes weights) noexcept {
  return _mm512_xor_si512(weights, _mm512_set1_epi8(-128));
}
VECTOR_FUNCTION Bytes e2m1_doubled(Bytes codes) noexcept {
  const __m128i values = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  return look_up(codes, _mm_xor_si128(values, _mm_set1_epi8(-128)));
}
VECTOR_FUNCTION Bytes start(std::int32_t offset) noexcept {
  return _mm512_set1_epi32(offset);
}
VECTOR_FUNCTION Bytes dot4(Bytes sum, Bytes weights, Bytes x) noexcept {
  return _mm512_dpbusd_epi32(sum, weights, x);
}

#include "engine/cpu/integer_layout.h"
#include "engine/cpu/integer_products.h"
#include "engine/cpu/quantised_layout.h"
#include "engine/cpu/quantised_products.h"

}  // namespace

VECTOR_TARGET void multiply_int8_avx512_vnni(const MultiplyTask& task) noexcept {
  multiply_integers(task);
}

}  // namespace fathom::engine::cpu
