// Weights with their sign, for products that take them so: what avx512_bytes.h asks for of encode.
//
// Included after that file inside the same anonymous namespace, so it includes nothing itself.
#pragma once

VECTOR_FUNCTION Bytes encode(Bytes weights) noexcept {
  return weights;
}
VECTOR_FUNCTION Bytes e2m1_doubled(Bytes codes) noexcept {
  return look_up(codes, _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
}
