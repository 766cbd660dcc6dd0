// Loading in detail: the weights, and what was found on the way.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/weights/binder.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;  // of the trunk
  ModelWeights weights{};
  ParameterCount parameters{};
};

// As load_weights().
LoadedModel load_model(const std::filesystem::path& model, const std::filesystem::path& mtp,
                       const LoadProgress& progress);

}  // namespace fathom::engine
