// The metadata of a GGUF file of architecture deepseek4 (spec architecture 9.1).
#pragma once

#include <filesystem>
#include <string>

#include "engine/config.h"
#include "engine/weights/gguf_writer.h"
#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

struct FileDescription {
  std::string name;           // of the model
  StoredType experts{};       // the type of most weights
  bool holds_mtp = false;     // the blocks that follow the trunk, alone
  std::string source_digest;  // of what it was made from
};

// Everything but the tokenizer.
void describe_model(GgufWriter& writer, const ModelConfig& config, const FileDescription& file);

// The tokenizer of a Hugging Face folder. Throws Error if it has none or one that this program, and
// the name that other programs know it by, do not mean.
void describe_tokenizer(GgufWriter& writer, const ModelConfig& config,
                        const std::filesystem::path& folder);

}  // namespace fathom::engine
