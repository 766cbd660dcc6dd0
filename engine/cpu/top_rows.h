// Chooses the rows with the largest scores.
#pragma once

#include <cstdint>

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// rows: the `wanted` < count rows of the largest scores, ascending; among equals the lower rows.
// NaN counts as larger than infinity, or as smaller if its sign is set. ranks: scratch [count].
// All kernels choose the same.
void top_rows(const Kernels& kernels, const float* scores, int count, int wanted,
              std::uint32_t* ranks, std::int32_t* rows) noexcept;

}  // namespace fathom::engine::cpu
