// The insides of a loaded engine that its sessions work on.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "engine/backend.h"
#include "engine/cache/kv_cache.h"
#include "engine/engine.h"
#include "engine/model/pass.h"
#include "engine/model/rope.h"
#include "engine/model/workspace.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

struct Engine::Parts {
  // Throws Error if the kernels are missing or the rounding does not fit.
  Parts(std::filesystem::path path, const EngineOptions& options, ModelWeights weights);

  // A pass over `tokens` of these sequences, which outlive it.
  Pass pass(std::span<const Sequence> sequences, std::span<const Token> tokens) const noexcept {
    return {.config = weights.config,
            .backend = *backend,
            .space = space,
            .sequences = sequences,
            .tokens = tokens,
            .plain_rope = plain_rope,
            .long_rope = long_rope};
  }

  // Constant after construction.
  std::filesystem::path model_path;
  ModelWeights weights;
  Rope plain_rope, long_rope;
  std::shared_ptr<const CacheShape> shape;
  std::shared_ptr<const CacheShape> mtp_shape;  // of the MTP block alone
  int draft_tokens;                             // as in EngineOptions
  std::string fingerprint;
  std::unique_ptr<Backend> backend;  // the pointer; its memory is guarded by compute_mutex

  // The cores belong to one pass at a time: passes of different sessions take turns.
  mutable std::mutex compute_mutex;
  mutable Workspace space;      // guarded by compute_mutex
  mutable int chunk_rows = 32;  // guarded by compute_mutex; follows the machine's speed

  mutable std::mutex tokenizer_mutex;
  mutable std::shared_ptr<const Tokenizer> tokenizer;  // guarded by tokenizer_mutex
};

}  // namespace fathom::engine
