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

// The byte at `at` of every row.
VECTOR_FUNCTION Bytes scale_codes(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm512_cvtepu8_epi32(
      _mm_setr_epi8(code(p[0] + at), code(p[1] + at), code(p[2] + at), code(p[3] + at),
                    code(p[4] + at), code(p[5] + at), code(p[6] + at), code(p[7] + at),
                    code(p[8] + at), code(p[9] + at), code(p[10] + at), code(p[11] + at),
                    code(p[12] + at), code(p[13] + at), code(p[14] + at), code(p[15] + at)));
}

// 2^(code - 128): beside integers that are doubled values. Codes 0 and 1 are subnormal.
VECTOR_FUNCTION Floats halved_powers(Bytes codes) noexcept {
  const Bytes one = _mm512_set1_epi32(1);
  Bytes bits = _mm512_slli_epi32(_mm512_sub_epi32(codes, one), 23);
  bits = _mm512_mask_mov_epi32(bits, _mm512_cmpeq_epi32_mask(codes, one),
                               _mm512_set1_epi32(0x00400000));
  bits = _mm512_mask_mov_epi32(bits, _mm512_testn_epi32_mask(codes, codes),
                               _mm512_set1_epi32(0x00200000));
  return _mm512_castsi512_ps(bits);
}

// The same, but code 255 is NaN.
VECTOR_FUNCTION Floats halved_powers_or_nan(Bytes codes) noexcept {
  return _mm512_mask_mov_ps(halved_powers(codes),
                            _mm512_cmpeq_epi32_mask(codes, _mm512_set1_epi32(255)),
                            _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
}

VECTOR_FUNCTION Bytes four_columns(const std::int8_t* x) noexcept {
  std::int32_t columns = 0;
  std::memcpy(&columns, x, sizeof columns);
  return _mm512_set1_epi32(columns);
}

// Bits, bytes and 32-bit lanes of registers.
VECTOR_FUNCTION Bytes every_byte(int value) noexcept {
  return _mm512_set1_epi8(static_cast<char>(value));
}
VECTOR_FUNCTION Bytes every_lane(int value) noexcept {
  return _mm512_set1_epi32(value);
}
VECTOR_FUNCTION Bytes and_bytes(Bytes a, Bytes b) noexcept {
  return _mm512_and_si512(a, b);
}
VECTOR_FUNCTION Bytes or_bytes(Bytes a, Bytes b) noexcept {
  return _mm512_or_si512(a, b);
}
VECTOR_FUNCTION Bytes xor_bytes(Bytes a, Bytes b) noexcept {
  return _mm512_xor_si512(a, b);
}
VECTOR_FUNCTION Bytes subtract_bytes(Bytes a, Bytes b) noexcept {
  return _mm512_sub_epi8(a, b);
}
VECTOR_FUNCTION Bytes subtract_lanes(Bytes a, Bytes b) noexcept {
  return _mm512_sub_epi32(a, b);
}
VECTOR_FUNCTION Bytes multiply_lanes(Bytes a, Bytes b) noexcept {
  return _mm512_mullo_epi32(a, b);
}
VECTOR_FUNCTION Bytes shift_right(Bytes lanes, int bits) noexcept {
  return _mm512_srl_epi32(lanes, _mm_cvtsi32_si128(bits));
}
VECTOR_FUNCTION Bytes shift_right_signed(Bytes lanes, int bits) noexcept {
  return _mm512_sra_epi32(lanes, _mm_cvtsi32_si128(bits));
}
VECTOR_FUNCTION Bytes shift_left(Bytes lanes, int bits) noexcept {
  return _mm512_sll_epi32(lanes, _mm_cvtsi32_si128(bits));
}
VECTOR_FUNCTION Bytes gather(const std::int32_t* table, Bytes indices) noexcept {
  return _mm512_i32gather_epi32(indices, table, 4);
}

// The low half of every lane as a float.
VECTOR_FUNCTION Floats halves_to_floats(Bytes lanes) noexcept {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(lanes));
}

// The 32 or 16 bits at `at` of every row, as lanes.
VECTOR_FUNCTION int dword(const std::byte* p) noexcept {
  int bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}
VECTOR_FUNCTION int word(const std::byte* p) noexcept {
  std::uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}
VECTOR_FUNCTION Bytes dwords(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm512_setr_epi32(dword(p[0] + at), dword(p[1] + at), dword(p[2] + at), dword(p[3] + at),
                           dword(p[4] + at), dword(p[5] + at), dword(p[6] + at), dword(p[7] + at),
                           dword(p[8] + at), dword(p[9] + at), dword(p[10] + at), dword(p[11] + at),
                           dword(p[12] + at), dword(p[13] + at), dword(p[14] + at),
                           dword(p[15] + at));
}
VECTOR_FUNCTION Bytes words(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm512_setr_epi32(word(p[0] + at), word(p[1] + at), word(p[2] + at), word(p[3] + at),
                           word(p[4] + at), word(p[5] + at), word(p[6] + at), word(p[7] + at),
                           word(p[8] + at), word(p[9] + at), word(p[10] + at), word(p[11] + at),
                           word(p[12] + at), word(p[13] + at), word(p[14] + at), word(p[15] + at));
}
