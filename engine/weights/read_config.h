// Reads the hyper-parameters from config.json or from GGUF metadata.
#pragma once

#include <filesystem>

#include "engine/config.h"

namespace fathom::engine {

class Gguf;

// Both return a validated configuration whose compress_ratios has one entry per layer and MTP
// block. They throw Error if the architecture is another, a field is missing or of the wrong type,
// or validate() refuses the values.

// The family follows the four dspark_* keys: all of them mean 0731, none preview, some an Error. A
// 0731 checkpoint's drafter is no MTP block, so num_nextn_predict_layers is then 0.
ModelConfig read_config_json(const std::filesystem::path& path);

// num_nextn_predict_layers is 0 in a file without the MTP block.
ModelConfig read_config_gguf(const Gguf& gguf);

}  // namespace fathom::engine
