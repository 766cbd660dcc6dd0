// Looks at a model's files without running it: what they hold, whether they are whole, what memory
// a context will take.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/engine.h"

namespace fathom::engine {

struct StoredFormat {
  std::string name;  // as the container calls it
  int tensors = 0;
  std::int64_t bytes = 0;
};

// What it takes to keep a model's weights in memory but for routed experts that wait on disk
// (load_offloaded).
struct OffloadNeeds {
  std::int64_t dense_bytes = 0;  // in memory in any case
  int experts = 0;               // of all layers, MTP included
  std::int64_t frame_bytes = 0;  // that hold one of them, the largest
  int frames_least = 0;          // the experts of a token in one layer, and as many being read

  std::int64_t least() const noexcept { return dense_bytes + frames_least * frame_bytes; }
  // How many experts `bound` ≥ least() keeps in memory, and the bytes of everything then.
  int frames(std::int64_t bound) const noexcept {
    if (frame_bytes == 0) return frames_least;
    return static_cast<int>(std::min<std::int64_t>(experts, (bound - dense_bytes) / frame_bytes));
  }
  std::int64_t bytes(std::int64_t bound) const noexcept {
    return dense_bytes + frames(bound) * frame_bytes;
  }
};

struct ModelSummary {
  ModelConfig config;
  std::string container;  // safetensors or GGUF
  int files = 0;
  std::int64_t file_bytes = 0;  // mapped when the model is loaded
  int tensors = 0;
  std::vector<StoredFormat> formats;  // largest first

  // Entries of the weights, FP4 pairs counted as two and hash tables not at all.
  std::int64_t parameters = 0;         // without MTP
  std::int64_t mtp_parameters = 0;     // 0: no MTP block
  std::int64_t active_parameters = 0;  // of the experts one token uses, and all that is not expert

  OffloadNeeds offload;

  bool has_tokenizer = false;
  int drafter_tensors = 0;                 // of a 0731 checkpoint, which this program does not use
  std::vector<std::string> extra_tensors;  // known to no part of the architecture
};

// Throws Error as Engine::load does.
ModelSummary summarize_model(const std::filesystem::path& path);

// Reads every byte of every tensor. Returns a sentence for each damaged tensor that names file,
// tensor, what was found and what is expected. Throws Error when headers or shapes are wrong.
std::vector<std::string> find_damage(
    const std::filesystem::path& path,
    const std::function<void(std::int64_t bytes, std::int64_t total)>& progress);

// What one session remembers after `context` tokens, in bytes (spec architecture 7.3; oracle
// figures.kv_bytes), without MTP.
struct KvBytes {
  std::int64_t window = 0;      // raw rows
  std::int64_t compressed = 0;  // rows of layers with ratio 4 and 128
  std::int64_t keys = 0;        // of the indexer
  std::int64_t state = 0;       // of unfinished compressor windows

  std::int64_t total() const noexcept { return window + compressed + keys + state; }
};

KvBytes kv_bytes(const ModelConfig& config, Rounding rounding, std::int64_t context);

// Whether the model's shapes can be stored in the packed rows and keys of Rounding::official.
bool supports_official(const ModelConfig& config) noexcept;

}  // namespace fathom::engine
