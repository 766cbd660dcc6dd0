// Summary and check of a model's files.
#include "engine/model_files.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <map>

#include "engine/offload/offload.h"
#include "engine/weights/check_tensor.h"
#include "engine/weights/formats.h"
#include "engine/weights/load_model.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

// Tensors by the type their header names, except that FP4 is stored under a type of its bytes.
std::vector<StoredFormat> count_formats(const std::vector<const StoredTensor*>& tensors) {
  std::map<std::string, StoredFormat> by_name;
  for (const StoredTensor* tensor : tensors) {
    const std::string name(tensor->type == StoredType::i8 ? "FP4" : type_name(tensor->type));
    StoredFormat& format = by_name[name];
    format.name = name;
    ++format.tensors;
    format.bytes += tensor->size;
  }
  std::vector<StoredFormat> formats;
  for (auto& [name, format] : by_name) formats.push_back(std::move(format));
  std::ranges::sort(formats, std::greater<>{}, &StoredFormat::bytes);
  return formats;
}

// Bytes of one remembered row, and of one indexer key.
struct RowBytes {
  std::int64_t row;
  std::int64_t key;
};

RowBytes row_bytes(const ModelConfig& config, Rounding rounding) {
  switch (rounding) {
    case Rounding::exact:
      return {4LL * config.head_dim, 4LL * config.index_head_dim};
    case Rounding::f16:
      return {2LL * config.head_dim, 2LL * config.index_head_dim};
    case Rounding::official:
      break;
  }
  assert(supports_official(config));
  return {packed_row_bytes(config.head_dim, config.qk_rope_head_dim),
          packed_key_bytes(config.index_head_dim)};
}

}  // namespace

ModelSummary summarize_model(const std::filesystem::path& path) {
  LoadedModel loaded = load_model(path, {}, {});
  const Checkpoint& checkpoint = *loaded.checkpoint;
  const auto tensors = checkpoint.tensors();

  ModelSummary summary;
  summary.config = loaded.weights.config;
  summary.container = checkpoint.is_gguf() ? "GGUF" : "safetensors";
  summary.has_tokenizer = checkpoint.has_tokenizer();
  for (const auto& file : loaded.weights.files) {
    ++summary.files;
    summary.file_bytes += file->size();
  }
  summary.tensors = static_cast<int>(tensors.size());
  summary.formats = count_formats(tensors);
  summary.offload = offload_needs(loaded.weights);
  summary.parameters = loaded.parameters.main;
  summary.mtp_parameters = loaded.parameters.mtp;
  summary.active_parameters = std::llround(loaded.parameters.active);
  for (const StoredTensor* tensor : checkpoint.unused()) {
    if (summary.config.family == Family::v0731 && tensor->name.starts_with("mtp.")) {
      ++summary.drafter_tensors;
    } else {
      summary.extra_tensors.emplace_back(tensor->name);
    }
  }
  return summary;
}

std::vector<std::string> find_damage(
    const std::filesystem::path& path,
    const std::function<void(std::int64_t bytes, std::int64_t total)>& progress) {
  const LoadedModel loaded = load_model(path, {}, {});
  for (const auto& file : loaded.weights.files) file->expect_sequential_reads();
  const auto tensors = loaded.checkpoint->tensors();
  std::int64_t total = 0;
  for (const StoredTensor* tensor : tensors) total += tensor->size;

  std::vector<std::string> damage;
  std::int64_t bytes = 0;
  for (const StoredTensor* tensor : tensors) {
    auto found = check_tensor(*tensor);
    tensor->file->expect_unchanged();
    if (found) damage.push_back(std::move(*found));
    bytes += tensor->size;
    if (progress) progress(bytes, total);
  }
  return damage;
}

KvBytes kv_bytes(const ModelConfig& config, Rounding rounding, std::int64_t context) {
  // The compressor keeps a value and a gate, both f32, for each slot and channel.
  constexpr std::int64_t kSlotBytes = 2 * sizeof(float);
  constexpr std::int64_t kOverlapSlots = 8;  // ratio 4: two windows of two channels each

  const RowBytes bytes = row_bytes(config, rounding);
  KvBytes sum;
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) {
    const int ratio = config.compress_ratios[static_cast<std::size_t>(layer)];
    sum.window += std::min<std::int64_t>(context, config.sliding_window) * bytes.row;
    if (ratio == 0) continue;
    sum.compressed += context / ratio * bytes.row;
    if (ratio == 4) {
      sum.keys += context / ratio * bytes.key;
      sum.state +=
          kSlotBytes * kOverlapSlots * 2 * (std::int64_t{config.head_dim} + config.index_head_dim);
    } else {
      sum.state += kSlotBytes * ratio * config.head_dim;
    }
  }
  return sum;
}

bool supports_official(const ModelConfig& config) noexcept {
  return has_packed_row(config.head_dim, config.qk_rope_head_dim) &&
         config.index_head_dim % kKeyGroup == 0;
}

}  // namespace fathom::engine
