// The tokens that the loop itself writes, and those that the model must not choose.
#pragma once

#include <vector>

#include "engine/tokenizer.h"

namespace fathom::agent {

struct Vocabulary {
  engine::Token eos = 0;
  engine::Token assistant = 0;
  engine::Token think_open = 0;
  engine::Token think_close = 0;

  // While reasoning only </think> and EOS end it. Markup is forbidden there: a call inside
  // reasoning would not run, and the model would believe that it had.
  std::vector<engine::Token> forbidden_thinking;

  // In the answer only EOS and, with tools, the markup token are allowed besides text. A role
  // token would forge a turn; a second <think> would reason where nobody expects it.
  std::vector<engine::Token> forbidden_writing;
};

// `logits`: how many ids the model can choose from; those that have no text are always forbidden.
// Throws Error if the tokenizer lacks a token that the loop writes.
Vocabulary vocabulary(const engine::Tokenizer& tokenizer, engine::Token eos, int logits,
                      bool has_tools);

}  // namespace fathom::agent
