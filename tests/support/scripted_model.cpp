// A Model that says what a test wrote down.
#include "support/scripted_model.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "test_paths.h"

namespace fathom::tests {

ScriptedModel::ScriptedModel()
    : tokenizer_(engine::Tokenizer::load(FATHOM_SOURCE "/examples/pocket/model/tokenizer.json")) {
  card_ = {.name = "scripted",
           .fingerprint = "scripted-1",
           .vocabulary = agent::vocabulary_of(*tokenizer_),
           .family = engine::Family::preview,
           .context_limit = 65536,
           .eos = id("<｜end▁of▁sentence｜>"),
           .bos = id("<｜begin▁of▁sentence｜>")};
  logits_.resize(static_cast<std::size_t>(tokenizer_->vocab_size()));
}

engine::Token ScriptedModel::id(std::string_view special) const {
  return tokenizer_->added_token(special).value();
}

std::string ScriptedModel::text(std::span<const engine::Token> tokens) const {
  return tokenizer_->decode(tokens);
}

void ScriptedModel::replies(std::string_view text) {
  script_.push_back(tokenizer_->encode(text, engine::AddedTokens::recognised));
}

engine::Prefill ScriptedModel::sync(std::span<const engine::Token> prompt,
                                    const engine::PrefillProgress& progress, std::stop_token stop) {
  if (on_sync) on_sync();
  const auto same = std::ranges::mismatch(timeline, prompt).in1 - timeline.begin();
  const int reused = static_cast<int>(same);
  const int fresh = static_cast<int>(prompt.size()) - reused;
  prompts.emplace_back(prompt.begin(), prompt.end());
  if (stop.stop_requested()) {
    timeline.resize(static_cast<std::size_t>(reused));
    return {.reused = reused, .prefilled = 0, .seconds = 0};
  }
  timeline.assign(prompt.begin(), prompt.end());
  progress(fresh, fresh);
  reply_.clear();
  if (!script_.empty()) {
    reply_ = std::move(script_.front());
    script_.pop_front();
  }
  said_ = 0;
  predict();
  return {.reused = reused, .prefilled = fresh, .seconds = 0.001};
}

void ScriptedModel::append(engine::Token token) {
  timeline.push_back(token);
  drafts_.drafted += drafts_each.drafted;
  drafts_.accepted += drafts_each.accepted;
  // A token that was forced on the model: it goes on after the place where it would have said it.
  const auto rest = reply_.begin() + static_cast<std::ptrdiff_t>(said_);
  const auto found = std::find(rest, reply_.end(), token);
  if (found != reply_.end()) said_ = static_cast<std::size_t>(found - reply_.begin()) + 1;
  predict();
  if (on_token) on_token(++appended_);
}

int ScriptedModel::to_compute(std::span<const engine::Token> prompt) {
  return static_cast<int>(prompt.end() - std::ranges::mismatch(timeline, prompt).in2);
}

void ScriptedModel::predict() {
  std::ranges::fill(logits_, 0.0F);
  logits_[static_cast<std::size_t>(id("</think>"))] = -1;  // a thought does not end by itself
  if (runner_up >= 0) logits_[static_cast<std::size_t>(runner_up)] = 5;
  const engine::Token next = said_ < reply_.size() ? reply_[said_] : card_.eos;
  logits_[static_cast<std::size_t>(next)] = 10;
}

std::string call(std::string_view tool, const std::vector<ScriptedParameter>& parameters) {
  std::string text = fmt::format("<｜DSML｜invoke name=\"{}\">\n", tool);
  for (const ScriptedParameter& parameter : parameters) {
    text += fmt::format("<｜DSML｜parameter name=\"{}\" string=\"{}\">{}</｜DSML｜parameter>\n",
                        parameter.name, parameter.is_text, parameter.value);
  }
  return text + "</｜DSML｜invoke>\n";
}

std::string calls(const std::vector<std::string>& calls) {
  std::string text = "\n\n<｜DSML｜tool_calls>\n";
  for (const std::string& one : calls) text += one;
  return text + "</｜DSML｜tool_calls>";
}

}  // namespace fathom::tests
