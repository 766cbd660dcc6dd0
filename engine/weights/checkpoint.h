// The files of a model: its configuration, and its tensors by their safetensors names.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/config.h"
#include "engine/weights/gguf.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

// A stored tensor or a part of one: an expert of a stack, a half of a joined matrix.
struct StoredPart {
  StoredTensor tensor;
  std::int64_t row_bytes = 0;  // stride; more than a row takes in a half
};

// Hides which container a model is stored in. Used by one thread, while loading.
class Checkpoint {
 public:
  // `path`: a Hugging Face folder, a GGUF file or any part of one, or a folder with one GGUF model.
  // Throws Error if there is none or its headers are damaged.
  explicit Checkpoint(const std::filesystem::path& path);

  const ModelConfig& config() const noexcept { return config_; }
  bool is_gguf() const noexcept { return !parts_.empty(); }

  // Whether a tensor of MTP block 0 is there.
  bool has_mtp() const;

  // Whether the folder holds a tokenizer.json, or the file a vocabulary.
  bool has_tokenizer() const;

  // Remembers that the tensor was asked for. Throws Error if a stack holds fewer experts than
  // asked for or cannot be cut.
  std::optional<StoredPart> find(const std::string& name);

  // The name in the file, and the file or folder to name in messages about a missing tensor.
  std::string stored_name(const std::string& name) const;
  const std::filesystem::path& path() const noexcept { return path_; }

  std::vector<std::shared_ptr<const MappedFile>> files() const;
  std::vector<const StoredTensor*> tensors() const;  // all, file by file in order of their bytes

  // Tensors that nobody asked for: not part of the model as this program knows it.
  std::vector<const StoredTensor*> unused() const;

 private:
  void open_folder();
  void index_tensors();

  std::filesystem::path path_;
  ModelConfig config_;
  std::vector<std::unique_ptr<const Gguf>> parts_;  // of a GGUF model; or
  std::vector<Shard> shards_;
  std::unordered_map<std::string_view, const StoredTensor*> by_name_;
  std::unordered_set<const StoredTensor*> used_;
};

}  // namespace fathom::engine
