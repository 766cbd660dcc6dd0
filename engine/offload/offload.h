// Takes a model out of its mapped files: everything dense into memory, as many routed experts as
// fit behind it, the others left on disk.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/model_files.h"
#include "engine/offload/expert_cache.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

// Of weights as load_weights() leaves them.
OffloadNeeds offload_needs(ModelWeights& weights);

// Afterwards nothing points into mapped files: vectors and dense matrices are in memory, routed
// experts have shapes and no bytes, which come from the cache. Both must stay where they are while
// it lives. `bytes` bounds all of that together; fewer experts are kept if the system has not so
// much left (available_memory). Throws Error if there is not even room for the least, naming it, or
// if a file cannot be read.
std::unique_ptr<ExpertCache> offload_experts(ModelWeights& weights, std::int64_t bytes);

}  // namespace fathom::engine
