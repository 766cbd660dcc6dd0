// One reply of the model: sampled token by token, shown as it grows, taken apart at its end.
#pragma once

#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/journal.h"
#include "agent/model.h"
#include "agent/prompt/reply_parser.h"
#include "agent/vocabulary.h"
#include "engine/sampler.h"

namespace fathom::agent {

struct GenerateOptions {
  int turn = 0;
  int step = 0;
  bool think = false;    // the prompt ended with <think>
  int think_tokens = 0;  // budget; 0: none
  int tokens = 0;        // budget; 0: none
  engine::Sampling sampling;
  std::vector<prompt::DeclaredTool> tools;
};

struct Generated {
  // model: EOS or the end of a block. looped: the same tokens again and again.
  enum class Ended { model, stopped, token_budget, context_full, looped };
  enum class ThinkingEnded { model, budget, looped, stopped };

  prompt::Reply reply;

  // What the timeline grows by: the sampled tokens as they were sampled, </think> where reasoning
  // was cut, EOS always.
  std::vector<engine::Token> tokens;
  Ended ended = Ended::model;
  ThinkingEnded thinking_ended = ThinkingEnded::model;
  int sampled = 0;   // tokens the model chose, EOS included
  int thinking = 0;  // of them inside reasoning
  double seconds = 0;
  double thinking_seconds = 0;
};

// Works on the model's timeline as it stands after a prefill. The references outlive it.
class Generator {
 public:
  Generator(Model& model, engine::Sampler& sampler, const Vocabulary& vocabulary, Journal& journal)
      : model_(model), sampler_(sampler), vocabulary_(vocabulary), journal_(journal) {}

  // Samples until the reply ends. `live` says what does not change meanwhile.
  Generated generate(const GenerateOptions& options, Live live, std::stop_token stop);

 private:
  struct Progress;
  engine::Token choose(const GenerateOptions& options, Generated& generated, bool reasoning);

  Model& model_;
  engine::Sampler& sampler_;
  const Vocabulary& vocabulary_;
  Journal& journal_;
};

// Whether `tokens` ends with at least three equal blocks of one length, together at least `span`
// tokens long. A block of fewer than `span` / 3 tokens counts when it is repeated more often.
bool ends_in_repetition(std::span<const engine::Token> tokens, int span);

}  // namespace fathom::agent
