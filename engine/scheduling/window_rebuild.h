// Computes windows again from rows that are known, through the scheduler like all else.
#pragma once

#include <memory>
#include <span>
#include <stop_token>

#include "engine/cache/kv_cache.h"
#include "engine/scheduling/scheduler.h"

namespace fathom::engine {

// What is known of a timeline: rows without a state.
struct KnownRows {
  std::shared_ptr<const CacheShape> shape;
  std::span<const Page> pages;    // all full
  std::span<const Token> tokens;  // [pages · kPageTokens]
};

// The state after all of `rows`, with the bits that computing their tokens gives (rebuild_plan.h
// says what it costs; `report` counts that). Null if it was stopped. Throws Error as forward.h
// says, Refusal, and std::bad_alloc.
std::shared_ptr<const Snapshot> rebuild_windows(Scheduler::Member& member, const KnownRows& rows,
                                                Report& report, const std::stop_token& stop);

}  // namespace fathom::engine
