// Computes a trajectory twice: fresh, without any cache, and in turns over a cache.
#pragma once

#include <filesystem>
#include <memory>
#include <span>

#include "engine/prefix_cache.h"
#include "trajectory/facts.h"
#include "trajectory/plan.h"

namespace fathom::bench {

// The cache that the turns leave lies in `folder`/kv afterwards, what is known in `folder`/fresh
// and `folder`/turns; what lies there already is taken. Says on standard error how far it is. With
// asked.part only that is computed; the other's facts are then missing.
struct Computed {
  Facts fresh;
  Facts turns;
};
Computed computed(const std::shared_ptr<const engine::Engine>& engine, const Asked& asked,
                  std::span<const engine::Token> tokens, const std::filesystem::path& folder);

std::shared_ptr<engine::PrefixCache> open_cache(const engine::Engine& engine,
                                                const std::filesystem::path& folder);

// The name of the trajectory's sessions.
inline constexpr const char* kName = "trajectory";

}  // namespace fathom::bench
