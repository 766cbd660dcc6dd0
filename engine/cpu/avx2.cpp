// The kernels in AVX2, FMA and F16C: eight floats at a time.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/kernels.h"
#include "engine/cpu/products.h"
#include "engine/weights/formats.h"

// A target on each function and not on the file: a file compiled for AVX2 could leave such a copy
// of a shared inline function in the program and crash older machines.
#define VECTOR_TARGET [[gnu::target("avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

using Floats = __m256;
constexpr int kLanes = 8;
constexpr int kTileTokens = 3;   // 4 rows x 3 tokens: 12 of 16 registers are sums
constexpr int kHeadTile = 4;     // heads that share a row's loads in attention
constexpr int kTileVectors = 2;  // x kHeadTile sums

VECTOR_FUNCTION __m256i first_lanes(int count) noexcept {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VECTOR_FUNCTION Floats zero() noexcept {
  return _mm256_setzero_ps();
}
VECTOR_FUNCTION Floats broadcast(float x) noexcept {
  return _mm256_set1_ps(x);
}
VECTOR_FUNCTION Floats load(const float* p) noexcept {
  return _mm256_loadu_ps(p);
}
VECTOR_FUNCTION void store(float* p, Floats x) noexcept {
  _mm256_storeu_ps(p, x);
}

// The first `count` lanes (all, if there are no more); the others are 0 and not touched in memory.
VECTOR_FUNCTION Floats load_first(const float* p, int count) noexcept {
  return count >= kLanes ? load(p) : _mm256_maskload_ps(p, first_lanes(count));
}
VECTOR_FUNCTION void store_first(float* p, Floats x, int count) noexcept {
  if (count >= kLanes) {
    store(p, x);
  } else {
    _mm256_maskstore_ps(p, first_lanes(count), x);
  }
}
// Lanes of x before `count` (which may be negative), of `other` from there on.
VECTOR_FUNCTION Floats select_first(Floats x, Floats other, int count) noexcept {
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(first_lanes(count)));
}

VECTOR_FUNCTION Floats add(Floats a, Floats b) noexcept {
  return _mm256_add_ps(a, b);
}
VECTOR_FUNCTION Floats subtract(Floats a, Floats b) noexcept {
  return _mm256_sub_ps(a, b);
}
VECTOR_FUNCTION Floats multiply(Floats a, Floats b) noexcept {
  return _mm256_mul_ps(a, b);
}
VECTOR_FUNCTION Floats divide(Floats a, Floats b) noexcept {
  return _mm256_div_ps(a, b);
}
VECTOR_FUNCTION Floats multiply_add(Floats a, Floats b, Floats c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
// If either is NaN: b. Callers put what may be NaN second, so that it stays.
VECTOR_FUNCTION Floats larger(Floats a, Floats b) noexcept {
  return _mm256_max_ps(a, b);
}
VECTOR_FUNCTION Floats smaller(Floats a, Floats b) noexcept {
  return _mm256_min_ps(a, b);
}

// kLanes sums in double.
struct Doubles {
  __m256d low{};
  __m256d high{};
};

VECTOR_FUNCTION __m256d low_half(Floats x) noexcept {
  return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}
VECTOR_FUNCTION __m256d high_half(Floats x) noexcept {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}
VECTOR_FUNCTION Doubles multiply_add(Floats a, Floats b, Doubles c) noexcept {
  return {_mm256_fmadd_pd(low_half(a), low_half(b), c.low),
          _mm256_fmadd_pd(high_half(a), high_half(b), c.high)};
}
VECTOR_FUNCTION Doubles add(Doubles a, Doubles b) noexcept {
  return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}
VECTOR_FUNCTION Floats rounded(Floats x) noexcept {
  return x;
}
VECTOR_FUNCTION Floats rounded(Doubles x) noexcept {
  return _mm256_set_m128(_mm256_cvtpd_ps(x.high), _mm256_cvtpd_ps(x.low));
}
VECTOR_FUNCTION double sum_of(Doubles x) noexcept {
  const __m256d four = _mm256_add_pd(x.low, x.high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
// The tree over the lanes in double: as good as exact at the price of two conversions.
VECTOR_FUNCTION double sum_of(Floats x) noexcept {
  return sum_of(Doubles{low_half(x), high_half(x)});
}
VECTOR_FUNCTION float largest_of(Floats x) noexcept {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
VECTOR_FUNCTION Floats round_to_integer(Floats x) noexcept {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// n in [-126, 127]: its bits go straight into the exponent.
VECTOR_FUNCTION Floats times_power_of_two(Floats x, Floats n) noexcept {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

VECTOR_FUNCTION __m128i bytes16(const std::byte* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
VECTOR_FUNCTION __m128i bytes8(const std::byte* p) noexcept {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}

VECTOR_FUNCTION Floats load_f16(const std::byte* p) noexcept {
  return _mm256_cvtph_ps(bytes16(p));
}
VECTOR_FUNCTION Floats load_bf16(const std::byte* p) noexcept {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bytes16(p)), 16));
}
VECTOR_FUNCTION Floats load_i8(const std::byte* p) noexcept {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes8(p)));
}
VECTOR_FUNCTION Floats broadcast_f16(const std::byte* p) noexcept {
  std::uint16_t half = 0;
  std::memcpy(&half, p, sizeof half);
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

// E4M3 shifted into a half has the same fields with an exponent bias of 15 instead of 7, subnormals
// included: the value is 2⁸ too small. The code of NaN would become 480.
VECTOR_FUNCTION Floats load_e4m3(const std::byte* p, float scale) noexcept {
  const __m128i codes = _mm_cvtepu8_epi16(bytes8(p));
  const __m128i magnitude = _mm_and_si128(codes, _mm_set1_epi16(0x7F));
  const __m128i sign = _mm_slli_epi16(_mm_andnot_si128(_mm_set1_epi16(0x7F), codes), 8);
  const __m128i halves = _mm_or_si128(sign, _mm_slli_epi16(magnitude, 7));
  const Floats values = _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(256.0F * scale));
  const __m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F));
  return _mm256_blendv_ps(values, _mm256_set1_ps(__builtin_nanf("")),
                          _mm256_castsi256_ps(_mm256_cvtepi16_epi32(nan)));
}

// Twice the value of each code in the low four bits of a byte.
VECTOR_FUNCTION __m128i e2m1_doubled(__m128i codes) noexcept {
  const __m128i doubled = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  return _mm_shuffle_epi8(doubled, _mm_and_si128(codes, _mm_set1_epi8(15)));
}

VECTOR_FUNCTION void widen(__m128i doubled, float half_scale, Floats* out) noexcept {
  const Floats half = _mm256_set1_ps(half_scale);
  out[0] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(doubled)), half);
  out[1] =
      _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(doubled, 8))), half);
}

// 32 codes in 16 bytes: entry j in the low nibble of byte j, entry j + 16 in the high one.
VECTOR_FUNCTION void load_e2m1_halves(const std::byte* p, float half_scale, Floats* out) noexcept {
  const __m128i codes = bytes16(p);
  widen(e2m1_doubled(codes), half_scale, out);
  widen(e2m1_doubled(_mm_srli_epi16(codes, 4)), half_scale, out + 2);
}

// 32 codes in 16 bytes: entries 2j and 2j + 1 in the low and high nibble of byte j.
VECTOR_FUNCTION void load_e2m1_pairs(const std::byte* p, float scale, Floats* out) noexcept {
  const __m128i codes = bytes16(p);
  const __m128i low = e2m1_doubled(codes);
  const __m128i high = e2m1_doubled(_mm_srli_epi16(codes, 4));
  widen(_mm_unpacklo_epi8(low, high), 0.5F * scale, out);
  widen(_mm_unpackhi_epi8(low, high), 0.5F * scale, out + 2);
}

#include "engine/cpu/vector_kernels.h"

constexpr Kernels kPlain = kernels_named</*precise=*/false>("avx2");

// Weights that keep f32 activations are done here, rounded forms have kernels of their own.
template <auto multiply_int8>
void multiply_native(const MultiplyTask& task) noexcept {
  if (task.rounded != nullptr) return multiply_int8(task);
  multiply_weights</*precise=*/false>(task);
}

}  // namespace

const Kernels kAvx2 =
    with_products(kPlain, "avx2", integer_form, multiply_native<multiply_int8_avx2>, round_avx2);
const Kernels kAvxVnni = with_products(kPlain, "avx-vnni", integer_form,
                                       multiply_native<multiply_int8_avx_vnni>, round_avx2);
const Kernels kAvx2Precise = kernels_named</*precise=*/true>("avx2");

}  // namespace fathom::engine::cpu
