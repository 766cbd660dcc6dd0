// Computes rows of a planned tensor as its file stores them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/convert/plan.h"

namespace fathom::engine {

// Floats that write_row() needs as scratch.
std::int64_t row_scratch(const PlannedTensor& tensor) noexcept;

// Writes row `row`, row_bytes() long. What has the same bits in both containers is copied, FP4
// packed anew; all else is rounded. False if a weight or its scale is not finite.
bool write_row(const PlannedTensor& tensor, std::int64_t row, std::span<float> scratch,
               std::byte* out) noexcept;

}  // namespace fathom::engine
