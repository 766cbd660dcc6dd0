// Opens either container and cuts GGUF's stacked tensors into those of the checkpoint.
#include "engine/weights/checkpoint.h"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/gguf_names.h"
#include "engine/weights/gguf_parts.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/read_config.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The `index`-th of `count` equal parts along the outermost of three dimensions.
StoredPart cut_stack(const StoredTensor& stack, int index, int count) {
  if (stack.shape.size() != 3 || stack.shape[0] != count) {
    throw Error(
        fmt::format("{}: tensor {} has shape {}, expected [{}, rows, columns], one matrix "
                    "per expert",
                    stack.file->path().string(), stack.name, shape_text(stack.shape), count));
  }
  StoredPart part{.tensor = stack};
  part.tensor.shape.erase(part.tensor.shape.begin());
  part.tensor.size = stack.size / count;
  part.tensor.bytes += part.tensor.size * index;
  part.row_bytes = part.tensor.size / part.tensor.shape[0];
  return part;
}

StoredPart cut_half(const StoredTensor& joined, bool right) {
  StoredPart part{.tensor = joined};
  StoredTensor& half = part.tensor;
  if (half.shape.size() == 2 && half.shape[1] % 2 == 0) {
    part.row_bytes = joined.size / half.shape[0];
    half.shape[1] /= 2;
    // Throws if the cut goes through a block that shares a scale.
    half.size = checked_bytes(half);
    if (right) half.bytes += part.row_bytes / 2;
    return part;
  }
  throw Error(fmt::format("{}: tensor {} has shape {}, expected two matrices side by side",
                          joined.file->path().string(), joined.name, shape_text(joined.shape)));
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& path) : path_(path) {
  if (!is_there(path)) {
    throw Error(
        fmt::format("{}: does not exist, expected a model: a GGUF file or a Hugging Face "
                    "folder",
                    path.string()));
  }
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    open_folder();
  } else {
    parts_ = open_gguf(path);
    config_ = read_config_gguf(*parts_.front());
  }
  index_tensors();
}

void Checkpoint::open_folder() {
  if (is_there(path_ / "model.safetensors.index.json") || is_there(path_ / "model.safetensors")) {
    config_ = read_config_json(path_ / "config.json");
    shards_ = read_shards(path_);
    return;
  }
  path_ = find_gguf(path_);
  parts_ = open_gguf(path_);
  config_ = read_config_gguf(*parts_.front());
}

void Checkpoint::index_tensors() {
  for (const StoredTensor* tensor : tensors()) by_name_.emplace(tensor->name, tensor);
}

bool Checkpoint::has_mtp() const {
  return config_.num_nextn_predict_layers > 0 &&
         by_name_.contains(stored_name("mtp.0.enorm.weight"));
}

bool Checkpoint::has_tokenizer() const {
  if (is_gguf()) return parts_.front()->is_array("tokenizer.ggml.tokens");
  return is_there(path_ / "tokenizer.json");
}

std::optional<StoredPart> Checkpoint::find(const std::string& name) {
  GgufPlace place{.name = name};
  if (is_gguf()) {
    auto known = gguf_place(name, config_.num_hidden_layers);
    if (!known) return std::nullopt;
    place = std::move(*known);
  }
  const auto found = by_name_.find(place.name);
  if (found == by_name_.end()) return std::nullopt;
  const StoredTensor& stored = *found->second;
  used_.insert(&stored);
  switch (place.part) {
    case GgufPlace::Part::expert:
      return cut_stack(stored, place.expert, config_.n_routed_experts);
    case GgufPlace::Part::left:
      return cut_half(stored, /*right=*/false);
    case GgufPlace::Part::right:
      return cut_half(stored, /*right=*/true);
    case GgufPlace::Part::whole:
      break;
  }
  const std::int64_t rows = stored.shape.size() < 2 ? 1 : stored.shape.front();
  return StoredPart{.tensor = stored, .row_bytes = stored.size / rows};
}

std::string Checkpoint::stored_name(const std::string& name) const {
  if (!is_gguf()) return name;
  const auto place = gguf_place(name, config_.num_hidden_layers);
  return place ? place->name : name;
}

std::vector<std::shared_ptr<const MappedFile>> Checkpoint::files() const {
  std::vector<std::shared_ptr<const MappedFile>> files;
  for (const auto& part : parts_) files.push_back(part->file());
  for (const Shard& shard : shards_) files.push_back(shard.file);
  return files;
}

std::vector<const StoredTensor*> Checkpoint::tensors() const {
  std::vector<const StoredTensor*> tensors;
  for (const auto& part : parts_) {
    const auto begin = std::ssize(tensors);
    for (const StoredTensor& tensor : part->tensors()) tensors.push_back(&tensor);
    std::sort(tensors.begin() + begin, tensors.end(),
              [](const StoredTensor* a, const StoredTensor* b) { return a->bytes < b->bytes; });
  }
  for (const Shard& shard : shards_) {
    for (const StoredTensor& tensor : shard.tensors) tensors.push_back(&tensor);
  }
  return tensors;
}

std::vector<const StoredTensor*> Checkpoint::unused() const {
  std::vector<const StoredTensor*> unused = tensors();
  std::erase_if(unused, [this](const StoredTensor* tensor) { return used_.contains(tensor); });
  return unused;
}

}  // namespace fathom::engine
