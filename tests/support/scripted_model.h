// A Model that says what a test wrote down, with the tokenizer of the pocket model.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/model.h"

namespace fathom::tests {

class ScriptedModel final : public agent::Model {
 public:
  ScriptedModel();

  // The replies to come, one per prefill; the text of special tokens becomes those tokens, and EOS
  // follows by itself. A reply that is not scripted is empty.
  void replies(std::string_view text);

  const agent::ModelCard& card() const noexcept override { return card_; }
  const engine::Tokenizer& tokenizer() const noexcept override { return *tokenizer_; }
  engine::Prefill sync(std::span<const engine::Token> prompt,
                       const engine::PrefillProgress& progress, std::stop_token stop) override;
  int to_compute(std::span<const engine::Token> prompt) override;
  void append(engine::Token token) override;
  std::span<const float> logits() const noexcept override { return logits_; }
  engine::DraftCounts drafts() const noexcept override { return drafts_; }
  std::optional<engine::ExpertReads> expert_reads() const override { return reads; }

  engine::Token id(std::string_view special) const;
  std::string text(std::span<const engine::Token> tokens) const;

  agent::ModelCard card_;
  std::vector<engine::Token> timeline;              // what a session would hold
  std::vector<std::vector<engine::Token>> prompts;  // of each prefill
  engine::DraftCounts drafts_each;                  // what each token adds to drafts()
  engine::Token runner_up = -1;                     // always second likeliest
  std::function<void(int)> on_token;                // told how many tokens were appended in all
  std::optional<engine::ExpertReads> reads;         // so far
  std::function<void()> on_sync;                    // may throw

 private:
  void predict();

  std::shared_ptr<const engine::Tokenizer> tokenizer_;
  std::deque<std::vector<engine::Token>> script_;
  std::vector<engine::Token> reply_;  // the one that is being said
  std::size_t said_ = 0;
  int appended_ = 0;
  engine::DraftCounts drafts_;
  std::vector<float> logits_;
};

// A call as the model writes it, for scripts: <｜DSML｜invoke name="…">…
struct ScriptedParameter {
  std::string name;
  std::string value;
  bool is_text = true;
};
std::string call(std::string_view tool, const std::vector<ScriptedParameter>& parameters);

// Calls in their block, with the blank line before it.
std::string calls(const std::vector<std::string>& calls);

}  // namespace fathom::tests
