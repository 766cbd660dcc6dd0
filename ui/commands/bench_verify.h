// `fathom bench --verify`: what it costs to check drafts.
#pragma once

#include <span>

#include "engine/session.h"
#include "ui/commands/bench.h"

namespace fathom::ui {

inline constexpr int kVerifyMax = 16;  // tokens of a pass; more are a prefill

// Passes of a fork of `filled` over one token and over each number in options.verify, in turn, with
// the logits of every token; prints the median time of each and its share of the first.
void bench_verify(const engine::Session& filled, std::span<const engine::Token> tokens,
                  const BenchOptions& options);

}  // namespace fathom::ui
