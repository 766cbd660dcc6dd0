// Keeps the outcomes of one step within what the context can afford.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "engine/tokenizer.h"

namespace fathom::agent {

// Tokens that all outcomes of a step may take together.
inline constexpr int kStepOutcomeTokens = 20'000;

// The most tokens one outcome of a step may keep when the largest give way first: those of at most
// this size stay whole, the rest are cut to it. `sizes` are in tokens; `to_come` calls have not
// ended yet and are taken to be as large as can be, so the answer only grows as they end. INT_MAX
// where everything fits.
int outcome_limit(std::span<const int> sizes, int to_come, int tokens_max = kStepOutcomeTokens);

int count_tokens(const engine::Tokenizer& tokenizer, std::string_view text);

// `text` in at most about `tokens` tokens: its header line, then the first 40 % and the last 60 %
// of what fits, cut at line ends, with one line between that counts what was left out. As it is if
// it fits.
std::string shorten(const engine::Tokenizer& tokenizer, const std::string& text, int tokens);

}  // namespace fathom::agent
