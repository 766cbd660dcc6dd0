// The AMX kernels on tile registers that are plain loops.
#pragma once

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// As kAmx, for machines that have AVX-512 BF16 but no AMX: what surrounds the tile instructions is
// tested there.
extern const Kernels kPlainTiles;

}  // namespace fathom::engine::cpu
