// Sixteen vectors of sixteen dwords, transposed. The file that includes it defines VECTOR_TARGET
// before.
//
// Included inside that file's anonymous namespace, so it includes nothing itself.
#pragma once

constexpr int kLanes = 16;

// Rows become columns, in dwords. Always inlined: as a call its rows would go through memory.
VECTOR_TARGET [[gnu::always_inline]] inline void transpose(__m512i* rows) noexcept {
  __m512i pairs[kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < kLanes; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m512i quads[kLanes];  // quads[4 · i + k]: dword k of every 128 bits, of rows 4i to 4i + 3
#pragma GCC unroll 4
  for (int i = 0; i < kLanes; i += 4) {
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const __m512i a = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0xEE);
    const __m512i c = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0x44);
    const __m512i d = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0xEE);
    rows[k] = _mm512_shuffle_i32x4(a, c, 0x88);
    rows[4 + k] = _mm512_shuffle_i32x4(a, c, 0xDD);
    rows[8 + k] = _mm512_shuffle_i32x4(b, d, 0x88);
    rows[12 + k] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
}
