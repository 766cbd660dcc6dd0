// Packed rows (FP8 codes with a power of two per group, and a BF16 rotary part) in AVX-512 BF16:
// asked for ahead, and read as bf16.
//
// Included inside the anonymous namespace of a file that defines VECTOR_FUNCTION and kRows, rows of
// a block, so it includes nothing itself.
#pragma once

constexpr int kColumns = 32;  // bf16 in a vector
constexpr int kLineBytes = 64;

// The next block's rows. Chosen rows lie anywhere: without asking ahead, each would cost the
// memory's whole latency. Asking for some at once would wait too, as only so many requests are
// under way at a time; so they are spread over the products, a line at a time.
struct RowsAhead {
  const std::byte* const* rows;
  int count;
  std::int64_t bytes;
  std::int64_t at;

  VECTOR_FUNCTION void step() noexcept {
    if (count <= 0) return;
    // Not _mm_prefetch: g++ 12 drops calls of functions that do nothing else.
    asm volatile("prefetcht1 %0" : : "m"((*rows)[at]));
    at += kLineBytes;
    if (at < bytes) return;
    at = 0;
    ++rows;
    --count;
  }
};

// Those of the block that begins at row `first`.
VECTOR_FUNCTION RowsAhead rows_ahead(const AttendTask& task, int first) noexcept {
  return {.rows = task.rows + first,
          .count = std::min(kRows, task.count - first),
          .bytes = task.format->bytes,
          .at = 0};
}

VECTOR_FUNCTION __m512i bits(__m512bh x) noexcept {
  __m512i integers;
  std::memcpy(&integers, &x, sizeof integers);
  return integers;
}

// As ue8m0_to_f32, but inline: 2^(code - 127), of which 2^-127 is a subnormal and 255 is NaN.
VECTOR_FUNCTION float power_of_two(std::uint32_t code) noexcept {
  return std::bit_cast<float>(code == 0 ? 0x00400000U : code == 255 ? 0x7FC00000U : code << 23);
}

// 32 FP8 codes times 2^(code - 127), whatever they are. E4M3 has the fields of a half with another
// bias, so the value as a half is 2⁸ too small.
VECTOR_FUNCTION __m512i any_to_bf16(__m256i codes, std::uint32_t code) noexcept {
  const __m512i wide = _mm512_cvtepu8_epi16(codes);
  const __m512i magnitudes = _mm512_and_si512(wide, _mm512_set1_epi16(0x7F));
  const __m512i halves = _mm512_slli_epi16(magnitudes, 7);
  const __m512 factor = _mm512_set1_ps(256.0F * power_of_two(code));
  const __m512 low = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(halves)), factor);
  const __m512 high = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)), factor);
  const __m512i values = bits(_mm512_cvtne2ps_pbh(high, low));
  constexpr int kOrOfAnd = 0xF8;  // a | (b & c)
  const __m512i with_sign =
      _mm512_ternarylogic_epi32(values, _mm512_slli_epi16(wide, 8),
                                _mm512_set1_epi16(static_cast<std::int16_t>(0x8000)), kOrOfAnd);
  const __mmask32 nan = _mm512_cmpeq_epi16_mask(magnitudes, _mm512_set1_epi16(0x7F));
  return _mm512_mask_mov_epi16(with_sign, nan, _mm512_set1_epi16(0x7FC0));
}

// Whether all codes are neither zero, subnormal nor NaN.
VECTOR_FUNCTION bool are_normal(__m256i codes) noexcept {
  const __m256i magnitudes = _mm256_add_epi8(codes, codes);  // doubled, so without the sign
  const __m256i above_least = _mm256_sub_epi8(magnitudes, _mm256_set1_epi8(2 * 8));
  const auto most = static_cast<std::int8_t>(2 * (0x7E - 8));
  return _mm256_cmpgt_epu8_mask(above_least, _mm256_set1_epi8(most)) == 0;
}

// 32 FP8 codes times 2^(code - 127). Mostly by whole numbers: the fields of a normal E4M3 are those
// of a bf16 but for the bias, and a power of two is added to the exponent.
VECTOR_FUNCTION __m512i codes_to_bf16(const std::byte* p, std::uint32_t code) noexcept {
  const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const bool moderate = code - 27 <= 200;
  if (!moderate || !are_normal(codes)) return any_to_bf16(codes, code);
  constexpr int kMantissa = 7;  // bits of bf16's, whose bias is 127; E4M3 has 3 and 7
  constexpr int kFields =
      0x87F0;  // of E4M3, where bf16 has them: sign, exponent's low bits, mantissa
  const __m512i fields = _mm512_and_si512(_mm512_slli_epi16(_mm512_cvtepi8_epi16(codes), 4),
                                          _mm512_set1_epi16(static_cast<std::int16_t>(kFields)));
  const int exponent = static_cast<int>(code) - 127 + (127 - 7);
  return _mm512_add_epi16(fields,
                          _mm512_set1_epi16(static_cast<std::int16_t>(exponent << kMantissa)));
}

// Columns [c, c + 32) of a packed row.
VECTOR_FUNCTION __m512i load_columns(const RowFormat& format, const std::byte* row,
                                     int c) noexcept {
  const int plain = format.width - format.rope;
  if (c >= plain) return _mm512_loadu_si512(row + plain + 2 * static_cast<std::int64_t>(c - plain));
  const std::byte scale = row[plain + 2 * format.rope + c / kKvGroup];
  return codes_to_bf16(row + c, std::to_integer<std::uint32_t>(scale));
}
