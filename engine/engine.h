// A loaded model. Immutable and shared by every session.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "engine/config.h"
#include "engine/scheduling.h"
#include "engine/tokenizer.h"

namespace fathom::engine {

// How rows that a session remembers are rounded (spec architecture 7.2).
//   exact     float32, nothing rounded
//   f16       rows and indexer keys as IEEE half
//   official  FP8 with BF16 rotary part, indexer operands FP4: 3,514 bytes a token on V4-Flash
enum class Rounding { exact, f16, official };

// f32: float32 activations on de-quantised weights, sums in double: for comparisons, several times
// slower. native: what generation uses; may quantise activations to match the stored weights.
enum class Activations { f32, native };

struct EngineOptions {
  std::string kernels = "auto";  // or a set of engine/cpu/select.cpp; Error if the machine lacks it
  int threads = 0;               // 0: one per core
  Rounding rounding = Rounding::official;
  Activations activations = Activations::native;
  SchedulingOptions scheduling = {};
  // GGUF that holds the MTP block; empty: as in the model's own files.
  std::filesystem::path mtp = {};
  // Tokens that the MTP block, where there is one, drafts ahead of Session::append. They change no
  // result. Negative: as many as measurably pay; 0: none.
  int draft_tokens = -1;
  std::function<void(std::int64_t bytes, std::int64_t total)> on_progress = {};  // may be empty
};

class Engine {
 public:
  // `path`: a Hugging Face folder or a GGUF file (a folder that holds one GGUF works too).
  // Throws Error that names file, tensor, found and expected.
  static std::shared_ptr<const Engine> load(const std::filesystem::path& path,
                                            const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelConfig& config() const noexcept;
  std::shared_ptr<const Tokenizer> tokenizer() const;  // throws Error if the model has none
  std::string_view kernels() const noexcept;           // the set that was chosen
  int threads() const noexcept;
  bool has_mtp() const noexcept;

  // Identifies weights, rounding and kernel set: equal fingerprints give equal bits.
  std::string_view fingerprint() const noexcept;

  struct Parts;  // the insides that sessions work on
  const Parts& parts() const noexcept;

 private:
  explicit Engine(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace fathom::engine
