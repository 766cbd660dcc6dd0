// Integer products in AVX-512 without VNNI.
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

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

#include "engine/cpu/avx512_bytes.h"
#include "engine/cpu/avx512_signed_bytes.h"

VECTOR_FUNCTION Bytes start(std::int32_t /*offset*/) noexcept {
  return _mm512_setzero_si512();
}

// The first factor must be without sign, so the weight's moves to x. Pairs stay below 2 · 128 · 127
// and do not saturate.
VECTOR_FUNCTION Bytes dot4(Bytes sum, Bytes weights, Bytes x) noexcept {
  const Bytes signed_x =
      _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(weights), _mm512_setzero_si512(), x);
  const Bytes pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(weights), signed_x);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

#include "engine/cpu/integer_layout.h"
#include "engine/cpu/integer_products.h"
#include "engine/cpu/quantised_layout.h"
#include "engine/cpu/quantised_products.h"

}  // namespace

VECTOR_TARGET void multiply_int8_avx512(const MultiplyTask& task) noexcept {
  multiply_integers(task);
}

}  // namespace fathom::engine::cpu
