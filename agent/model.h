// What the loop needs of an engine; tests script it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "engine/config.h"
#include "engine/engine.h"
#include "engine/offload.h"
#include "engine/session.h"
#include "engine/tokenizer.h"

namespace fathom::agent {

struct ModelCard {
  std::string name;         // shown to people: the last part of the path
  std::string fingerprint;  // engine::Engine::fingerprint
  std::string vocabulary;   // equal for models whose token ids mean the same
  engine::Family family = engine::Family::preview;
  std::int64_t context_limit = 0;  // tokens
  engine::Token eos = 1;
  engine::Token bos = 0;
};

// One timeline of tokens. Used by one thread at a time.
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  virtual const ModelCard& card() const noexcept = 0;
  virtual const engine::Tokenizer& tokenizer() const noexcept = 0;

  // Makes `prompt` the timeline, computing only what is new (see engine::Session::sync).
  virtual engine::Prefill sync(std::span<const engine::Token> prompt,
                               const engine::PrefillProgress& progress, std::stop_token stop) = 0;

  // Tokens that sync(prompt) would compute now; 0 where that is not known.
  virtual int to_compute(std::span<const engine::Token> prompt) {
    static_cast<void>(prompt);
    return 0;
  }

  // Appends one token. Logits of the last token, [vocab_size], are then those after it.
  virtual void append(engine::Token token) = 0;
  virtual std::span<const float> logits() const noexcept = 0;
  // So far (engine::Session::drafts).
  virtual engine::DraftCounts drafts() const noexcept { return {}; }

  // What experts cost so far that are not all in memory, by whichever timeline; nothing if all are.
  virtual std::optional<engine::ExpertReads> expert_reads() const { return std::nullopt; }

  // Here the timeline may be taken up again, also by another run (engine::Session::remember).
  virtual void remember() {}
  // The same for a position that the next sync() computes.
  virtual void remember_at(int position) { static_cast<void>(position); }
};

// A Model over a session of its own. `name`: for people. `cache` may be null; the newest end of
// `conversation` then stays in it.
std::unique_ptr<Model> engine_model(std::shared_ptr<const engine::Engine> engine, std::string name,
                                    std::shared_ptr<engine::PrefixCache> cache = nullptr,
                                    std::string_view conversation = {});

// Equal for tokenizers whose ids stand for the same bytes.
std::string vocabulary_of(const engine::Tokenizer& tokenizer);

}  // namespace fathom::agent
