// FP8 codes as bf16 in AVX-512: E4M3 values are bf16 values, so nothing is lost.
//
// Included inside the anonymous namespace of a file that defines VECTOR_FUNCTION, so it includes
// nothing itself.
#pragma once

using Pairs = __m512i;  // 32 bf16

// 32 FP8 codes as bf16, without their scale.
VECTOR_FUNCTION Pairs fp8_to_bf16(const std::byte* codes_at) noexcept {
  const Pairs codes =
      _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes_at)));
  const Pairs magnitude = _mm512_and_si512(codes, _mm512_set1_epi16(0x7F));
  const Pairs sign = _mm512_slli_epi16(_mm512_sub_epi16(codes, magnitude), 8);
  // The fraction's three bits lead bf16's seven; the exponent's bias grows from 7 to 127.
  Pairs bits = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
  // Exponent 0: multiples of 2⁻⁹, as bf16.
  const Pairs subnormal = _mm512_castsi128_si512(
      _mm_setr_epi16(0, 0x3B00, 0x3B80, 0x3BC0, 0x3C00, 0x3C20, 0x3C40, 0x3C60));
  bits = _mm512_mask_permutexvar_epi16(
      bits, _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(8)), magnitude, subnormal);
  bits = _mm512_mask_mov_epi16(bits, _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7F)),
                               _mm512_set1_epi16(0x7FC0));
  return _mm512_or_si512(bits, sign);
}
