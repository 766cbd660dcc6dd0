// The operations of integer_products.h in AVX2: eight rows a vector. The file that includes it
// defines VECTOR_FUNCTION and kTileTokens before, and dot4, encode and start after it.
//
// Included inside that file's anonymous namespace, so it includes nothing itself.
#pragma once

using Floats = __m256;
using Bytes = __m256i;
constexpr int kLanes = 8;
constexpr int kTileVectors = 1;

VECTOR_FUNCTION Floats zero() noexcept {
  return _mm256_setzero_ps();
}
VECTOR_FUNCTION Floats broadcast(float x) noexcept {
  return _mm256_set1_ps(x);
}
VECTOR_FUNCTION Floats multiply(Floats a, Floats b) noexcept {
  return _mm256_mul_ps(a, b);
}
VECTOR_FUNCTION Floats multiply_add(Floats a, Floats b, Floats c) noexcept {
  return _mm256_fmadd_ps(a, b, c);
}
VECTOR_FUNCTION Floats to_floats(Bytes integers) noexcept {
  return _mm256_cvtepi32_ps(integers);
}
VECTOR_FUNCTION Bytes add(Bytes a, Bytes b) noexcept {
  return _mm256_add_epi32(a, b);
}
VECTOR_FUNCTION void store_first(float* p, Floats x, int count) noexcept {
  if (count >= kLanes) {
    _mm256_storeu_ps(p, x);
  } else {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes), x);
  }
}

VECTOR_FUNCTION __m128i bytes16(const std::byte* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// 16 bytes of rows 0 and 4.
VECTOR_FUNCTION Bytes every_fourth(const std::byte* const* rows, std::int64_t at) noexcept {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(bytes16(rows[0] + at)),
                                 bytes16(rows[4] + at), 1);
}

// In each half: a 4 x 4 transposition of dwords.
VECTOR_FUNCTION void transpose_quarters(Bytes a, Bytes b, Bytes c, Bytes d, Bytes* out) noexcept {
  const Bytes ab_low = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);
  const Bytes cd_low = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
  out[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
  out[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
  out[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
  out[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
}

VECTOR_FUNCTION Bytes unpack_low_bytes(Bytes a, Bytes b) noexcept {
  return _mm256_unpacklo_epi8(a, b);
}
VECTOR_FUNCTION Bytes unpack_high_bytes(Bytes a, Bytes b) noexcept {
  return _mm256_unpackhi_epi8(a, b);
}
VECTOR_FUNCTION Bytes high_nibbles(Bytes codes) noexcept {
  return _mm256_srli_epi16(codes, 4);
}
VECTOR_FUNCTION Bytes look_up(Bytes codes, __m128i table) noexcept {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table),
                             _mm256_and_si256(codes, _mm256_set1_epi8(15)));
}

VECTOR_FUNCTION short half(const std::byte* p) noexcept {
  short bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}
VECTOR_FUNCTION int code(const std::byte* p) noexcept {
  return std::to_integer<int>(*p);
}

// The half at `at` of every row. Inserted one by one: through memory, the load would wait for the
// stores.
VECTOR_FUNCTION Floats half_scales(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm256_cvtph_ps(_mm_setr_epi16(half(p[0] + at), half(p[1] + at), half(p[2] + at),
                                        half(p[3] + at), half(p[4] + at), half(p[5] + at),
                                        half(p[6] + at), half(p[7] + at)));
}

// The byte at `at` of every row.
VECTOR_FUNCTION Bytes scale_codes(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm256_setr_epi32(code(p[0] + at), code(p[1] + at), code(p[2] + at), code(p[3] + at),
                           code(p[4] + at), code(p[5] + at), code(p[6] + at), code(p[7] + at));
}

// 2^(code - 128): beside integers that are doubled values. Codes 0 and 1 are subnormal.
VECTOR_FUNCTION Floats halved_powers(Bytes codes) noexcept {
  const Bytes one = _mm256_set1_epi32(1);
  Bytes bits = _mm256_slli_epi32(_mm256_sub_epi32(codes, one), 23);
  bits = _mm256_blendv_epi8(bits, _mm256_set1_epi32(0x00400000), _mm256_cmpeq_epi32(codes, one));
  bits = _mm256_blendv_epi8(bits, _mm256_set1_epi32(0x00200000),
                            _mm256_cmpeq_epi32(codes, _mm256_setzero_si256()));
  return _mm256_castsi256_ps(bits);
}

// The same, but code 255 is NaN.
VECTOR_FUNCTION Floats halved_powers_or_nan(Bytes codes) noexcept {
  const Bytes nan = _mm256_cmpeq_epi32(codes, _mm256_set1_epi32(255));
  return _mm256_blendv_ps(halved_powers(codes), _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000)),
                          _mm256_castsi256_ps(nan));
}

VECTOR_FUNCTION Bytes four_columns(const std::int8_t* x) noexcept {
  std::int32_t columns = 0;
  std::memcpy(&columns, x, sizeof columns);
  return _mm256_set1_epi32(columns);
}

// Bits, bytes and 32-bit lanes of registers.
VECTOR_FUNCTION Bytes every_byte(int value) noexcept {
  return _mm256_set1_epi8(static_cast<char>(value));
}
VECTOR_FUNCTION Bytes every_lane(int value) noexcept {
  return _mm256_set1_epi32(value);
}
VECTOR_FUNCTION Bytes and_bytes(Bytes a, Bytes b) noexcept {
  return _mm256_and_si256(a, b);
}
VECTOR_FUNCTION Bytes or_bytes(Bytes a, Bytes b) noexcept {
  return _mm256_or_si256(a, b);
}
VECTOR_FUNCTION Bytes xor_bytes(Bytes a, Bytes b) noexcept {
  return _mm256_xor_si256(a, b);
}
VECTOR_FUNCTION Bytes subtract_bytes(Bytes a, Bytes b) noexcept {
  return _mm256_sub_epi8(a, b);
}
VECTOR_FUNCTION Bytes subtract_lanes(Bytes a, Bytes b) noexcept {
  return _mm256_sub_epi32(a, b);
}
VECTOR_FUNCTION Bytes multiply_lanes(Bytes a, Bytes b) noexcept {
  return _mm256_mullo_epi32(a, b);
}
VECTOR_FUNCTION Bytes shift_right(Bytes lanes, int bits) noexcept {
  return _mm256_srl_epi32(lanes, _mm_cvtsi32_si128(bits));
}
VECTOR_FUNCTION Bytes shift_right_signed(Bytes lanes, int bits) noexcept {
  return _mm256_sra_epi32(lanes, _mm_cvtsi32_si128(bits));
}
VECTOR_FUNCTION Bytes shift_left(Bytes lanes, int bits) noexcept {
  return _mm256_sll_epi32(lanes, _mm_cvtsi32_si128(bits));
}
VECTOR_FUNCTION Bytes gather(const std::int32_t* table, Bytes indices) noexcept {
  return _mm256_i32gather_epi32(table, indices, 4);
}

// The low half of every lane as a float.
VECTOR_FUNCTION Floats halves_to_floats(Bytes lanes) noexcept {
  const Bytes low = _mm256_and_si256(lanes, _mm256_set1_epi32(0xFFFF));
  const Bytes packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
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
  return _mm256_setr_epi32(dword(p[0] + at), dword(p[1] + at), dword(p[2] + at), dword(p[3] + at),
                           dword(p[4] + at), dword(p[5] + at), dword(p[6] + at), dword(p[7] + at));
}
VECTOR_FUNCTION Bytes words(const std::byte* const* rows, std::int64_t at) noexcept {
  const auto* p = rows;
  return _mm256_setr_epi32(word(p[0] + at), word(p[1] + at), word(p[2] + at), word(p[3] + at),
                           word(p[4] + at), word(p[5] + at), word(p[6] + at), word(p[7] + at));
}
