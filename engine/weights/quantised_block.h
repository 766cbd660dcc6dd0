// The formats whose rows hold small integers and their scales: one view of them all.
//
// They differ in how many bits an integer has, where its bits lie and how scales are packed. What
// they mean is the same for all, in blocks of 32 columns whose halves have a scale and a minimum:
//
//   value[i] = scale[i / 16] · code[i] − minimum[i / 16]
//
// Bits and order are those of GGUF files; values are, bit for bit, what the Python package `gguf`
// computes of them, but for the payload of NaN (tests/engine/weights/gguf_package.py).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/weights/tensor.h"

namespace fathom::engine {

// Both factors are exact products of a stored half and a small integer, so a value rounds once for
// the product and once for the difference.
struct QuantisedBlock {
  std::array<std::int8_t, kBlock> codes{};
  std::array<float, 2> scale{};
  std::array<float, 2> minimum{};
};

// Whether a format's rows hold such blocks: Q8_0, MXFP4 and all that follow I64 in Format.
bool is_quantised(Format format) noexcept;

// Columns 32 · block and up of a row of a quantised format.
QuantisedBlock unpack_block(Format format, const std::byte* row, std::int64_t block) noexcept;

// Writes the 32 values.
void dequantize_block(const QuantisedBlock& block, float* out) noexcept;

// Where a block of the format (layout_of) keeps its halves: offsets of the scale and, if there is
// one, of the scale of minima; else −1. MXFP4 has a UE8M0 scale instead and neither.
struct HalfPlaces {
  int scale;
  int minimum;
};
HalfPlaces half_places(Format format) noexcept;

}  // namespace fathom::engine
