// The tokens that the loop itself writes, and those that the model must not choose.
#include "agent/vocabulary.h"

#include "agent/prompt/constants.h"
#include "agent/prompt/render.h"

namespace fathom::agent {

Vocabulary vocabulary(const engine::Tokenizer& tokenizer, engine::Token eos, int logits,
                      bool has_tools) {
  Vocabulary words{.eos = eos,
                   .assistant = prompt::special(tokenizer, prompt::kAssistant),
                   .think_open = prompt::special(tokenizer, prompt::kThinkOpen),
                   .think_close = prompt::special(tokenizer, prompt::kThinkClose),
                   .forbidden_thinking = {},
                   .forbidden_writing = {}};
  const auto dsml = tokenizer.added_token(prompt::kDsml);
  for (engine::Token token = 0; token < logits; ++token) {
    const bool text = token < tokenizer.vocab_size() && !tokenizer.is_reserved(token) &&
                      !tokenizer.is_added(token);
    if (text || token == eos) continue;
    if (token != words.think_close) words.forbidden_thinking.push_back(token);
    if (!has_tools || token != dsml) words.forbidden_writing.push_back(token);
  }
  return words;
}

}  // namespace fathom::agent
