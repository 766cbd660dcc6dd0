// A Model over an engine session.
#include <utility>

#include <fmt/format.h>

#include "agent/model.h"
#include "engine/engine.h"

namespace fathom::agent {
namespace {

class EngineModel : public Model {
 public:
  EngineModel(std::shared_ptr<const engine::Engine> engine, std::string name,
              std::shared_ptr<engine::PrefixCache> cache, std::string_view conversation)
      : engine_(std::move(engine)),
        tokenizer_(engine_->tokenizer()),
        session_(engine_, std::move(cache), conversation) {
    const engine::ModelConfig& config = engine_->config();
    card_ = {.name = std::move(name),
             .fingerprint = std::string(engine_->fingerprint()),
             .vocabulary = vocabulary_of(*tokenizer_),
             .family = config.family,
             .context_limit = config.max_position_embeddings,
             .eos = config.eos_token_id,
             .bos = config.bos_token_id};
  }

  const ModelCard& card() const noexcept override { return card_; }
  const engine::Tokenizer& tokenizer() const noexcept override { return *tokenizer_; }

  engine::Prefill sync(std::span<const engine::Token> prompt,
                       const engine::PrefillProgress& progress, std::stop_token stop) override {
    return session_.sync(prompt, progress, std::move(stop));
  }
  int to_compute(std::span<const engine::Token> prompt) override {
    return session_.to_compute(prompt);
  }
  void append(engine::Token token) override { session_.append(token); }
  std::span<const float> logits() const noexcept override { return session_.logits(); }
  engine::DraftCounts drafts() const noexcept override { return session_.drafts(); }
  std::optional<engine::ExpertReads> expert_reads() const override {
    return engine::expert_reads(*engine_);
  }
  void remember() override { session_.remember(); }
  void remember_at(int position) override { session_.remember_at(position); }

 private:
  ModelCard card_;
  std::shared_ptr<const engine::Engine> engine_;
  std::shared_ptr<const engine::Tokenizer> tokenizer_;
  engine::Session session_;
};

}  // namespace

std::unique_ptr<Model> engine_model(std::shared_ptr<const engine::Engine> engine, std::string name,
                                    std::shared_ptr<engine::PrefixCache> cache,
                                    std::string_view conversation) {
  return std::make_unique<EngineModel>(std::move(engine), std::move(name), std::move(cache),
                                       conversation);
}

std::string vocabulary_of(const engine::Tokenizer& tokenizer) {
  // FNV-1a, 64 bits: it tells files apart that were not made to deceive.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (engine::Token token = 0; token < tokenizer.vocab_size(); ++token) {
    for (const char byte : tokenizer.bytes(token)) mix(static_cast<unsigned char>(byte));
    mix(tokenizer.is_added(token) ? 0xff : 0xfe);  // neither occurs in UTF-8
  }
  return fmt::format("{}-{:016x}", tokenizer.vocab_size(), hash);
}

}  // namespace fathom::agent
