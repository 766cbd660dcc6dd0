// Reads safetensors: one file, or the shards that an index names.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

class MappedFile;

// One file of a checkpoint. Tensors live as long as the object.
struct Shard {
  std::shared_ptr<const MappedFile> file;
  std::vector<std::unique_ptr<const std::string>> names{};  // what the tensors' names point to
  std::vector<StoredTensor> tensors{};                      // by offset
};

// Throws Error if the header is malformed or a tensor does not lie inside the file.
Shard read_shard(const std::filesystem::path& path);

// The shards of a folder: those of model.safetensors.index.json, else model.safetensors alone.
// Throws Error if neither is there, a shard is missing, or index and shards disagree.
std::vector<Shard> read_shards(const std::filesystem::path& folder);

}  // namespace fathom::engine
