// A GGUF file in memory, to be taken apart and written anew.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

struct FileTensor {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape{};  // outermost first
  std::string bytes;

  std::int64_t columns() const { return shape.back(); }
  std::int64_t rows() const;
};

struct GgufFile {
  std::string metadata;  // as stored
  std::uint64_t keys = 0;
  std::vector<FileTensor> tensors;

  void add_count(const std::string& key, std::uint32_t value);
};

GgufFile read_gguf(const std::filesystem::path& path);
void write_gguf(const std::filesystem::path& path, const GgufFile& file);

// Writes the model as `count` parts, FOLDER/NAME-00001-of-0000N.gguf and so on; returns their
// paths.
std::vector<std::filesystem::path> write_parts(const std::filesystem::path& folder,
                                               const GgufFile& file, int count);

}  // namespace fathom::engine
