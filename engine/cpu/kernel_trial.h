// Trials of kernel sets when a model is loaded: how fast one multiplies, and whether it is right.
#pragma once

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// Seconds for a product that fits the caches, the least of some rounds: about a millisecond in all.
double trial_seconds(const Kernels& set);

// Whether products of every rounded form are those of the plain twin, within what rounding allows.
bool trial_agrees(const Kernels& set);

}  // namespace fathom::engine::cpu
