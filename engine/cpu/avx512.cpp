// The kernels in AVX-512 (F, BW, DQ, VL): sixteen floats at a time.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/attention_kernels.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/products.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

// A target on each function and not on the file: a file compiled for AVX-512 could leave such a
// copy of a shared inline function in the program and crash older machines.
#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

using Floats = __m512;
constexpr int kLanes = 16;
constexpr int kTileTokens = 6;   // 4 rows x 6 tokens: 24 of 32 registers are sums
constexpr int kHeadTile = 4;     // heads that share a row's loads in attention
constexpr int kTileVectors = 4;  // x kHeadTile sums

VECTOR_FUNCTION __mmask16 first_lanes(int count) noexcept {
  return count >= kLanes ? __mmask16{0xFFFF} : static_cast<__mmask16>((1U << count) - 1);
}

VECTOR_FUNCTION Floats zero() noexcept {
  return _mm512_setzero_ps();
}
VECTOR_FUNCTION Floats broadcast(float x) noexcept {
  return _mm512_set1_ps(x);
}
VECTOR_FUNCTION Floats load(const float* p) noexcept {
  return _mm512_loadu_ps(p);
}
VECTOR_FUNCTION void store(float* p, Floats x) noexcept {
  _mm512_storeu_ps(p, x);
}

// The first `count` lanes (all, if there are no more); the others are 0 and not touched in memory.
VECTOR_FUNCTION Floats load_first(const float* p, int count) noexcept {
  return _mm512_maskz_loadu_ps(first_lanes(count), p);
}
VECTOR_FUNCTION void store_first(float* p, Floats x, int count) noexcept {
  _mm512_mask_storeu_ps(p, first_lanes(count), x);
}
// Lanes of x before `count` (which may be negative), of `other` from there on.
VECTOR_FUNCTION Floats select_first(Floats x, Floats other, int count) noexcept {
  return _mm512_mask_mov_ps(other, first_lanes(count < 0 ? 0 : count), x);
}

VECTOR_FUNCTION Floats add(Floats a, Floats b) noexcept {
  return _mm512_add_ps(a, b);
}
VECTOR_FUNCTION Floats subtract(Floats a, Floats b) noexcept {
  return _mm512_sub_ps(a, b);
}
VECTOR_FUNCTION Floats multiply(Floats a, Floats b) noexcept {
  return _mm512_mul_ps(a, b);
}
VECTOR_FUNCTION Floats divide(Floats a, Floats b) noexcept {
  return _mm512_div_ps(a, b);
}
VECTOR_FUNCTION Floats multiply_add(Floats a, Floats b, Floats c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
// If either is NaN: b. Callers put what may be NaN second, so that it stays.
VECTOR_FUNCTION Floats larger(Floats a, Floats b) noexcept {
  return _mm512_max_ps(a, b);
}
VECTOR_FUNCTION Floats smaller(Floats a, Floats b) noexcept {
  return _mm512_min_ps(a, b);
}

// kLanes sums in double.
struct Doubles {
  __m512d low{};
  __m512d high{};
};

VECTOR_FUNCTION __m512d low_half(Floats x) noexcept {
  return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}
VECTOR_FUNCTION __m512d high_half(Floats x) noexcept {
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}
VECTOR_FUNCTION Doubles multiply_add(Floats a, Floats b, Doubles c) noexcept {
  return {_mm512_fmadd_pd(low_half(a), low_half(b), c.low),
          _mm512_fmadd_pd(high_half(a), high_half(b), c.high)};
}
VECTOR_FUNCTION Doubles add(Doubles a, Doubles b) noexcept {
  return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
}
VECTOR_FUNCTION Floats rounded(Floats x) noexcept {
  return x;
}
VECTOR_FUNCTION Floats rounded(Doubles x) noexcept {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.low)), _mm512_cvtpd_ps(x.high),
                            1);
}
VECTOR_FUNCTION double sum_of(Doubles x) noexcept {
  return _mm512_reduce_add_pd(_mm512_add_pd(x.low, x.high));
}
// The tree over the lanes in double: as good as exact at the price of two conversions.
VECTOR_FUNCTION double sum_of(Floats x) noexcept {
  return sum_of(Doubles{low_half(x), high_half(x)});
}
VECTOR_FUNCTION float largest_of(Floats x) noexcept {
  return _mm512_reduce_max_ps(x);
}
VECTOR_FUNCTION Floats round_to_integer(Floats x) noexcept {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
VECTOR_FUNCTION Floats times_power_of_two(Floats x, Floats n) noexcept {
  return _mm512_scalef_ps(x, n);
}

VECTOR_FUNCTION __m128i bytes16(const std::byte* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
VECTOR_FUNCTION __m256i bytes32(const std::byte* p) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

VECTOR_FUNCTION Floats load_f16(const std::byte* p) noexcept {
  return _mm512_cvtph_ps(bytes32(p));
}
VECTOR_FUNCTION Floats load_bf16(const std::byte* p) noexcept {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bytes32(p)), 16));
}
VECTOR_FUNCTION Floats load_i8(const std::byte* p) noexcept {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes16(p)));
}
VECTOR_FUNCTION Floats broadcast_f16(const std::byte* p) noexcept {
  std::uint16_t half = 0;
  std::memcpy(&half, p, sizeof half);
  return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

// E4M3 shifted into a half has the same fields with an exponent bias of 15 instead of 7, subnormals
// included: the value is 2⁸ too small. The code of NaN would become 480.
VECTOR_FUNCTION Floats load_e4m3(const std::byte* p, float scale) noexcept {
  const __m256i codes = _mm256_cvtepu8_epi16(bytes16(p));
  const __m256i magnitude = _mm256_and_si256(codes, _mm256_set1_epi16(0x7F));
  const __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(_mm256_set1_epi16(0x7F), codes), 8);
  const __m256i halves = _mm256_or_si256(sign, _mm256_slli_epi16(magnitude, 7));
  const Floats values = _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0F * scale));
  const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7F));
  return _mm512_mask_mov_ps(values, nan, _mm512_set1_ps(__builtin_nanf("")));
}

// The 16 values of E2M1, scaled; a permute takes the low four bits of each lane as its index.
VECTOR_FUNCTION Floats e2m1_values(float half_scale) noexcept {
  return _mm512_mul_ps(_mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, -0.0F, -1, -2, -3, -4, -6, -8, -12),
                       _mm512_set1_ps(half_scale));
}

// 32 codes in 16 bytes: entry j in the low nibble of byte j, entry j + 16 in the high one.
VECTOR_FUNCTION void load_e2m1_halves(const std::byte* p, float half_scale, Floats* out) noexcept {
  const Floats values = e2m1_values(half_scale);
  const __m512i codes = _mm512_cvtepu8_epi32(bytes16(p));
  out[0] = _mm512_permutexvar_ps(codes, values);
  out[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, 4), values);
}

// 32 codes in 16 bytes: entries 2j and 2j + 1 in the low and high nibble of byte j.
VECTOR_FUNCTION void load_e2m1_pairs(const std::byte* p, float scale, Floats* out) noexcept {
  const Floats values = e2m1_values(0.5F * scale);
  const __m256i bytes = _mm256_cvtepu8_epi16(bytes16(p));
  const __m256i codes = _mm256_or_si256(bytes, _mm256_slli_epi16(bytes, 4));
  out[0] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(codes)), values);
  out[1] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(codes, 1)), values);
}

#include "engine/cpu/vector_kernels.h"

// Sixteen at a time: what reaches is moved to the front of a vector.
VECTOR_TARGET int list_reaching(const float* scores, int count, float threshold,
                                std::uint32_t* rows) noexcept {
  const __m512 least = _mm512_set1_ps(threshold);
  __m512i row = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int found = 0;
  for (int j = 0; j < count; j += 16) {
    const auto lanes = static_cast<__mmask16>(count - j >= 16 ? 0xFFFF : (1 << (count - j)) - 1);
    const __mmask16 reaches = _mm512_mask_cmp_ps_mask(
        lanes, _mm512_maskz_loadu_ps(lanes, scores + j), least, _CMP_NLT_UQ);
    const int more = std::popcount(reaches);
    _mm512_mask_storeu_epi32(rows + found, static_cast<__mmask16>((1 << more) - 1),
                             _mm512_maskz_compress_epi32(reaches, row));
    found += more;
    row = _mm512_add_epi32(row, _mm512_set1_epi32(16));
  }
  return found;
}

constexpr Kernels with_own_kernels(Kernels set) noexcept {
  set.list_reaching = list_reaching;
  set.finish_index_query = finish_index_query_avx512;
  return set;
}

constexpr Kernels kPlain = with_own_kernels(kernels_named</*precise=*/false>("avx512"));

// Weights that keep f32 activations are done here, rounded forms have kernels of their own.
template <auto multiply_int8>
void multiply_native(const MultiplyTask& task) noexcept {
  if (task.rounded != nullptr) return multiply_int8(task);
  multiply_weights</*precise=*/false>(task);
}

void multiply_native_bf16(const MultiplyTask& task) noexcept {
  if (integer_or_bf16_form(task.weights->format) == ActivationForm::bf16) {
    return multiply_bf16_avx512(task);
  }
  multiply_native<multiply_int8_avx512_vnni>(task);
}

void multiply_native_amx(const MultiplyTask& task) noexcept {
  if (integer_or_bf16_form(task.weights->format) == ActivationForm::bf16) {
    return multiply_bf16_amx(task);
  }
  multiply_native<multiply_int8_amx>(task);
}

}  // namespace

const Kernels kAvx512 = with_products(kPlain, "avx512", integer_form,
                                      multiply_native<multiply_int8_avx512>, round_avx512);
const Kernels kAvx512Vnni =
    with_index(with_products(kPlain, "avx512-vnni", integer_form,
                             multiply_native<multiply_int8_avx512_vnni>, round_avx512),
               index_scores_avx512_vnni, index_scratch_avx512_vnni);
const Kernels kAvx512Bf16 = with_bf16_attention(with_index(
    with_products(kPlain, "avx512-bf16", integer_or_bf16_form, multiply_native_bf16, round_avx512),
    index_scores_avx512_vnni, index_scratch_avx512_vnni));
const Kernels kAmx = with_bf16_attention(with_index(
    with_products(kPlain, "amx", integer_or_bf16_form, multiply_native_amx, round_avx512),
    index_scores_avx512_vnni, index_scratch_avx512_vnni));
const Kernels kAvx512Precise = with_own_kernels(kernels_named</*precise=*/true>("avx512"));

}  // namespace fathom::engine::cpu
