// Ties weights, kernels and tokenizer into an engine, and names what decides its bits.
#include "engine/engine.h"

#include <array>
#include <new>
#include <span>

#include <fmt/format.h>

#include "engine/cache/checksum.h"
#include "engine/error.h"
#include "engine/model/engine_parts.h"
#include "engine/offload.h"
#include "engine/offload/offload.h"

namespace fathom::engine {
namespace {

// Bytes of a tensor's beginning and end that stand for its contents. All bytes would take minutes
// and read every page of a mapped checkpoint.
constexpr std::int64_t kSampleBytes = 256;

void add_tensor(Checksum& sum, const Tensor& tensor) {
  sum.add_value(static_cast<std::int64_t>(tensor.format));
  sum.add_value(tensor.rows);
  sum.add_value(tensor.columns);
  const std::int64_t row = bytes_of(tensor.format, tensor.columns);
  const auto count = static_cast<std::size_t>(std::min(row, kSampleBytes));
  sum.add({tensor.data, count});
  sum.add({tensor.data + (tensor.rows - 1) * tensor.row_bytes + row -
               std::ssize(std::span(tensor.data, count)),
           count});
}

void add_values(Checksum& sum, std::span<const float> values) {
  sum.add(std::as_bytes(values));
}

void add_hyper(Checksum& sum, const HyperWeights& weights) {
  add_values(sum, weights.fn);
  add_values(sum, weights.base);
  add_values(sum, weights.scale);
}

void add_compressor(Checksum& sum, const CompressorWeights& weights) {
  add_tensor(sum, weights.wkv);
  add_tensor(sum, weights.wgate);
  add_values(sum, weights.ape);
  add_values(sum, weights.norm);
}

void add_block(Checksum& sum, const BlockWeights& block) {
  for (const auto* values : {&block.attn_norm, &block.ffn_norm, &block.q_norm, &block.kv_norm,
                             &block.attn_sink, &block.gate_bias}) {
    add_values(sum, *values);
  }
  for (const auto* tensor : {&block.wq_a, &block.wq_b, &block.wkv, &block.wo_a, &block.wo_b,
                             &block.gate, &block.shared.w1, &block.shared.w2, &block.shared.w3}) {
    add_tensor(sum, *tensor);
  }
  // The first and last expert stand for all: a sample of each would touch 60,000 pages on V4-Pro.
  for (const ExpertWeights* expert : {&block.experts.front(), &block.experts.back()}) {
    add_tensor(sum, expert->w1);
    add_tensor(sum, expert->w2);
    add_tensor(sum, expert->w3);
  }
  add_hyper(sum, block.hc_attn);
  add_hyper(sum, block.hc_ffn);
  if (block.tid2eid) add_tensor(sum, *block.tid2eid);
  if (block.compressor) add_compressor(sum, *block.compressor);
  if (block.indexer) {
    add_tensor(sum, block.indexer->wq_b);
    add_tensor(sum, block.indexer->weights_proj);
    add_compressor(sum, block.indexer->compressor);
  }
}

void add_config(Checksum& sum, const ModelConfig& c) {
  for (const std::int64_t value :
       {std::int64_t{c.vocab_size}, std::int64_t{c.hidden_size}, std::int64_t{c.num_hidden_layers},
        std::int64_t{c.num_attention_heads}, std::int64_t{c.head_dim},
        std::int64_t{c.qk_rope_head_dim}, std::int64_t{c.o_groups}, std::int64_t{c.sliding_window},
        c.rope_scaling.original_max_position_embeddings, std::int64_t{c.index_n_heads},
        std::int64_t{c.index_topk}, std::int64_t{c.num_experts_per_tok},
        std::int64_t{c.norm_topk_prob}, std::int64_t{c.hc_sinkhorn_iters}}) {
    sum.add_value(value);
  }
  for (const int ratio : c.compress_ratios) sum.add_value(ratio);
  for (const double value :
       {c.rope_theta, c.compress_rope_theta, c.rope_scaling.factor, c.rope_scaling.beta_fast,
        c.rope_scaling.beta_slow, c.routed_scaling_factor, c.swiglu_limit, c.swiglu_limit_shared,
        c.hc_eps, c.rms_norm_eps}) {
    sum.add_value(value);
  }
}

std::string_view rounding_name(Rounding rounding) noexcept {
  switch (rounding) {
    case Rounding::exact:
      return "exact";
    case Rounding::f16:
      return "f16";
    case Rounding::official:
      return "official";
  }
  return "";
}

std::string fingerprint_of(const ModelWeights& weights, Rounding rounding, const Backend& backend,
                           Activations activations) {
  Checksum sum;
  add_config(sum, weights.config);
  add_tensor(sum, weights.embed);
  add_tensor(sum, weights.head);
  add_values(sum, weights.norm);
  add_values(sum, weights.hc_head.fn);
  add_values(sum, weights.hc_head.base);
  sum.add_value(weights.hc_head.scale);
  for (const BlockWeights& block : weights.layers) add_block(sum, block);
  return fmt::format("{:016x}-{}-{}-r{}-{}", sum.value(), rounding_name(rounding), backend.name(),
                     backend.revision(), activations == Activations::f32 ? "f32" : "native");
}

constexpr std::array<int, 1> kMtpRatios = {0};  // MTP blocks have the window alone

std::span<const int> layer_ratios(const ModelConfig& config) {
  return std::span(config.compress_ratios)
      .first(static_cast<std::size_t>(config.num_hidden_layers));
}

}  // namespace

Engine::Parts::Parts(std::filesystem::path path, const EngineOptions& options, ModelWeights loaded,
                     std::int64_t weights_memory)
    : model_path(std::move(path)),
      weights(std::move(loaded)),
      plain_rope(weights.config, /*compressed=*/false),
      long_rope(weights.config, /*compressed=*/true),
      shape(std::make_shared<CacheShape>(weights.config, options.rounding,
                                         layer_ratios(weights.config))),
      mtp_shape(std::make_shared<CacheShape>(weights.config, options.rounding, kMtpRatios)),
      draft_tokens(options.draft_tokens),
      backend(make_backend(weights.config, options.kernels, options.activations, options.threads)),
      fingerprint(fingerprint_of(weights, options.rounding, *backend, options.activations)),
      experts(weights_memory > 0 ? offload_experts(weights, weights_memory) : nullptr),
      compute{.weights = weights,
              .plain_rope = plain_rope,
              .long_rope = long_rope,
              .backend = *backend,
              .experts = experts.get()},
      scheduler(compute, options.scheduling),
      space(weights.config) {}

std::shared_ptr<const Engine> Engine::Parts::load(const std::filesystem::path& path,
                                                  const EngineOptions& options,
                                                  std::int64_t weights_memory) {
  try {
    auto parts = std::make_unique<const Parts>(
        path, options, load_weights(path, options.mtp, options.on_progress), weights_memory);
    return std::shared_ptr<const Engine>(new Engine(std::move(parts)));
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: not enough memory to load the model", path.string()));
  }
}

std::shared_ptr<const Engine> Engine::load(const std::filesystem::path& path,
                                           const EngineOptions& options) {
  return Parts::load(path, options, /*weights_memory=*/0);
}

std::shared_ptr<const Engine> load_offloaded(const std::filesystem::path& path,
                                             const EngineOptions& options, std::int64_t bytes) {
  return Engine::Parts::load(path, options, bytes);
}

std::optional<ExpertReads> expert_reads(const Engine& engine) {
  if (!engine.parts().experts) return std::nullopt;
  return engine.parts().experts->reads();
}

Engine::Engine(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Engine::~Engine() = default;

const ModelConfig& Engine::config() const noexcept {
  return parts_->weights.config;
}

std::shared_ptr<const Tokenizer> Engine::tokenizer() const {
  const std::lock_guard lock(parts_->tokenizer_mutex);
  if (!parts_->tokenizer) parts_->tokenizer = Tokenizer::load(parts_->model_path);
  return parts_->tokenizer;
}

std::string_view Engine::kernels() const noexcept {
  return parts_->backend->name();
}
int Engine::threads() const noexcept {
  return parts_->backend->threads();
}
bool Engine::has_mtp() const noexcept {
  return !parts_->weights.mtp.empty();
}
std::string_view Engine::fingerprint() const noexcept {
  return parts_->fingerprint;
}
const Engine::Parts& Engine::parts() const noexcept {
  return *parts_;
}

}  // namespace fathom::engine
