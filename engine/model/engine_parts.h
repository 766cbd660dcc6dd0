// The insides of a loaded engine that its sessions work on.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "engine/backend.h"
#include "engine/cache/kv_cache.h"
#include "engine/engine.h"
#include "engine/model/rope.h"
#include "engine/model/workspace.h"
#include "engine/offload/expert_cache.h"
#include "engine/scheduling/lane.h"
#include "engine/scheduling/scheduler.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

struct Engine::Parts {
  // Throws Error if the kernels are missing or the rounding does not fit.
  // `weights_memory` as in load_offloaded(); 0: all weights are mapped.
  Parts(std::filesystem::path path, const EngineOptions& options, ModelWeights weights,
        std::int64_t weights_memory);
  static std::shared_ptr<const Engine> load(const std::filesystem::path& path,
                                            const EngineOptions& options,
                                            std::int64_t weights_memory);

  // Constant after construction.
  std::filesystem::path model_path;
  ModelWeights weights;
  Rope plain_rope, long_rope;
  std::shared_ptr<const CacheShape> shape;
  std::shared_ptr<const CacheShape> mtp_shape;  // of the MTP block alone
  int draft_tokens;                             // as in EngineOptions
  std::unique_ptr<Backend> backend;      // the pointer; its memory belongs to whose turn it is
  std::string fingerprint;               // taken before experts leave `weights`
  std::unique_ptr<ExpertCache> experts;  // if not all fit in memory; of `weights`
  Compute compute;                       // of the above

  // The cores belong to one pass at a time. std::lock_guard on it for what is no session's request.
  mutable Scheduler scheduler;
  mutable Workspace space;  // guarded by such a lock

  mutable std::mutex tokenizer_mutex;
  mutable std::shared_ptr<const Tokenizer> tokenizer;  // guarded by tokenizer_mutex
};

}  // namespace fathom::engine
