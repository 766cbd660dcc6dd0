// Rounds f32 weights to the formats of GGUF files: the way back from quantised_block.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/weights/tensor.h"

namespace fathom::engine {

// Formats that quantise_row() writes: F32, F16, BF16, Q8_0, MXFP4, Q4_0 to Q5_1, Q2_K to Q6_K.
bool can_quantise(Format format) noexcept;

// Writes a row: columns are whole blocks of the format, `row` has bytes_of(format, columns). All
// entries must be finite. Scales are those with the least sum of squared errors among a few dozen
// candidates; Q8_0 takes a scale that loses nothing where there is one, as there often is for
// weights that came from FP8.
void quantise_row(Format format, std::span<const float> values, std::byte* row) noexcept;

}  // namespace fathom::engine
