// Keeps the outcomes of one step within what the context can afford.
#pragma once

#include <string>
#include <string_view>

#include "engine/tokenizer.h"

namespace fathom::agent {

// Tokens that all outcomes of a step may take together.
inline constexpr int kStepOutcomeTokens = 20'000;

// What is kept free for each call of the step that has yet to run: enough for most outcomes.
inline constexpr int kReservedPerCall = 1'000;

int count_tokens(const engine::Tokenizer& tokenizer, std::string_view text);

// `text` in at most about `tokens` tokens: its header line, then the first 40 % and the last 60 %
// of what fits, cut at line ends, with one line between that counts what was left out. As it is if
// it fits.
std::string shorten(const engine::Tokenizer& tokenizer, const std::string& text, int tokens);

}  // namespace fathom::agent
