// Models larger than memory: what every token needs stays there, routed experts come from disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "engine/engine.h"

namespace fathom::engine {

// As Engine::load, with at most `bytes` of memory for weights: experts that do not fit stay on disk
// until they are asked for. Results are the same, bit for bit. Throws Error also if `bytes`, or
// what the system has left, is too little; it names what is needed (ModelSummary::offload).
std::shared_ptr<const Engine> load_offloaded(const std::filesystem::path& path,
                                             const EngineOptions& options, std::int64_t bytes);

// What routed experts cost that do not all fit in memory; counted since the engine was loaded.
struct ExpertReads {
  std::int64_t needed = 0;         // experts that layers asked for
  std::int64_t hits = 0;           // of them, in memory when they were asked for
  std::int64_t guesses = 0;        // experts read before anybody asked
  std::int64_t guesses_right = 0;  // of them, asked for while they were there or on their way
  std::int64_t bytes = 0;          // read from disk
  double waited_s = 0;             // by passes that had nothing else to do

  ExpertReads operator-(const ExpertReads& before) const noexcept {
    return {needed - before.needed,   hits - before.hits,
            guesses - before.guesses, guesses_right - before.guesses_right,
            bytes - before.bytes,     waited_s - before.waited_s};
  }
  double hit_rate() const noexcept {
    return needed == 0 ? 1 : static_cast<double>(hits) / static_cast<double>(needed);
  }
};

// Nothing if all weights are mapped.
std::optional<ExpertReads> expert_reads(const Engine& engine);

}  // namespace fathom::engine
