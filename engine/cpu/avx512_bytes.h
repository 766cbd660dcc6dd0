// The operations of integer_products.h in AVX-512: sixteen rows a vector. The file that includes it
// defines VECTOR_FUNCTION before, and dot4, encode and start after it.
//
// Included inside that file's anonymous namespace, so it includes nothing itself.
#pragma once

using Floats = __m512;
using Bytes = __m512i;
constexpr int kLanes = 16;
constexpr int kTileVectors = 2;
constexpr int kTileTokens = 6;  // x 2 vectors: 12 integer and 12 float sums of 32 registers

VECTOR_FUNCTION Floats zero() noexcept {
  return _mm512_setzero_ps();
}
VECTOR_FUNCTION Floats broadcast(float x) noexcept {
  return _mm512_set1_ps(x);
}
VECTOR_FUNCTION Floats multiply(Floats a, Floats b) noexcept {
  return _mm512_mul_ps(a, b);
}
VECTOR_FUNCTION Floats multiply_add(Floats a, Floats b, Floats c) noexcept {
  return _mm512_fmadd_ps(a, b, c);
}
VECTOR_FUNCTION Floats to_floats(Bytes integers) noexcept {
  return _mm512_cvtepi32_ps(integers);
}
VECTOR_FUNCTION Bytes add(Bytes a, Bytes b) noexcept {
  return _mm512_add_epi32(a, b);
}
VECTOR_FUNCTION void store_first(float* p, Floats x, int count) noexcept {
  const auto lanes = static_cast<__mmask16>(count >= kLanes ? 0xFFFFU : (1U << count) - 1);
  _mm512_mask_storeu_ps(p, lanes, x);
}

VECTOR_FUNCTION __m128i bytes16(const std::byte* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// 16 bytes of rows 0, 4, 8 and 12.
VECTOR_FUNCTION Bytes every_fourth(const std::byte* const* rows, std::int64_t at) noexcept {
  Bytes all = _mm512_castsi128_si512(bytes16(rows[0] + at));
  all = _mm512_inserti32x4(all, bytes16(rows[4] + at), 1);
  all = _mm512_inserti32x4(all, bytes16(rows[8] + at), 2);
  return _mm512_inserti32x4(all, bytes16(rows[12] + at), 3);
}

// In each quarter: a 4 x 4 transposition of dwords.
VECTOR_FUNCTION void transpose_quarters(Bytes a, Bytes b, Bytes c, Bytes d, Bytes* out) noexcept {
  const Bytes ab_low = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
  const Bytes cd_low = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
  out[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
  out[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
  out[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
  out[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}

VECTOR_FUNCTION Bytes unpack_low_bytes(Bytes a, Bytes b) noexcept {
  return _mm512_unpacklo_epi8(a, b);
}
VECTOR_FUNCTION Bytes unpack_high_bytes(Bytes a, Bytes b) noexcept {
  return _mm512_unpackhi_epi8(a, b);
}
VECTOR_FUNCTION Bytes high_nibbles(Bytes codes) noexcept {
  return _mm512_srli_epi16(codes, 4);
}
VECTOR_FUNCTION Bytes look_up(Bytes codes, __m128i table) noexcept {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table),
                             _mm512_and_si512(codes, _mm512_set1_epi8(15)));
}

VECTOR_FUNCTION short half(const std::byte* p) noexcept {
  short bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}
VECTOR_FUNCTION char code(const std::byte* p) noexcept {
  return static_cast<char>(*p);
}

// The half at `at` of every row. Inserted one by one: through memory, the load would wait for the
// stores.
VECTOR_FUNCTION Floats half_scales(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm512_cvtph_ps(
      _mm256_setr_epi16(half(p[0] + at), half(p[1] + at), half(p[2] + at), half(p[3] + at),
                        half(p[4] + at), half(p[5] + at), half(p[6] + at), half(p[7] + at),
                        half(p[8] + at), half(p[9] + at), half(p[10] + at), half(p[11] + at),
                        half(p[12] + at), half(p[13] + at), half(p[14] + at), half(p[15] + at)));
}

// 2^(code - 128) of the code at `at` of every row: beside integers that are doubled values. Code 0
// is 2^-127 before it is halved, 255 is NaN.
VECTOR_FUNCTION Floats halved_power_scales(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  const Bytes codes = _mm512_cvtepu8_epi32(
      _mm_setr_epi8(code(p[0] + at), code(p[1] + at), code(p[2] + at), code(p[3] + at),
                    code(p[4] + at), code(p[5] + at), code(p[6] + at), code(p[7] + at),
                    code(p[8] + at), code(p[9] + at), code(p[10] + at), code(p[11] + at),
                    code(p[12] + at), code(p[13] + at), code(p[14] + at), code(p[15] + at)));
  Bytes bits = _mm512_slli_epi32(codes, 23);
  bits = _mm512_mask_mov_epi32(bits, _mm512_testn_epi32_mask(codes, codes),
                               _mm512_set1_epi32(0x00400000));
  bits = _mm512_mask_mov_epi32(bits, _mm512_cmpeq_epi32_mask(codes, _mm512_set1_epi32(255)),
                               _mm512_set1_epi32(0x7FC00000));
  return _mm512_mul_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(0.5F));
}

VECTOR_FUNCTION Bytes four_columns(const std::int8_t* x) noexcept {
  std::int32_t columns = 0;
  std::memcpy(&columns, x, sizeof columns);
  return _mm512_set1_epi32(columns);
}
