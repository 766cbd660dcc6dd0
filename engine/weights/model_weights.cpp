// Binds every tensor of the architecture (spec architecture 8), block by block.
#include "engine/weights/model_weights.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/load_model.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

HyperWeights bind_hyper(Binder& binder, const ModelConfig& c, const std::string& name) {
  const int controls = (2 + c.hc_mult) * c.hc_mult;
  HyperWeights hyper{.fn = binder.floats(name + "_fn", {controls, c.hc_mult * c.hidden_size}),
                     .base = binder.floats(name + "_base", {controls})};
  std::ranges::copy(binder.floats(name + "_scale", {std::ssize(hyper.scale)}), hyper.scale.begin());
  return hyper;
}

HcHead bind_hc_head(Binder& binder, const ModelConfig& c, const std::string& prefix) {
  return {.fn = binder.floats(prefix + "hc_head_fn", {c.hc_mult, c.hc_mult * c.hidden_size}),
          .base = binder.floats(prefix + "hc_head_base", {c.hc_mult}),
          .scale = binder.floats(prefix + "hc_head_scale", {1}).front()};
}

CompressorWeights bind_compressor(Binder& binder, const ModelConfig& c, const std::string& prefix,
                                  int ratio, int width) {
  const int gates = ratio == 4 ? 2 * width : width;
  return {.wkv = binder.matrix(prefix + "wkv.weight", gates, c.hidden_size),
          .wgate = binder.matrix(prefix + "wgate.weight", gates, c.hidden_size),
          .ape = binder.floats(prefix + "ape", {ratio, gates}),
          .norm = binder.floats(prefix + "norm.weight", {width})};
}

IndexerWeights bind_indexer(Binder& binder, const ModelConfig& c, const std::string& prefix) {
  return {
      .wq_b =
          binder.matrix(prefix + "wq_b.weight", c.index_n_heads * c.index_head_dim, c.q_lora_rank),
      .weights_proj = binder.matrix(prefix + "weights_proj.weight", c.index_n_heads, c.hidden_size),
      .compressor = bind_compressor(binder, c, prefix + "compressor.", 4, c.index_head_dim)};
}

ExpertWeights bind_expert(Binder& binder, const ModelConfig& c, const std::string& prefix) {
  return {.w1 = binder.matrix(prefix + "w1.weight", c.moe_intermediate_size, c.hidden_size),
          .w3 = binder.matrix(prefix + "w3.weight", c.moe_intermediate_size, c.hidden_size),
          .w2 = binder.matrix(prefix + "w2.weight", c.hidden_size, c.moe_intermediate_size)};
}

void bind_attention(Binder& binder, const ModelConfig& c, const std::string& prefix, int ratio,
                    BlockWeights& block) {
  block.attn_sink = binder.floats(prefix + "attn_sink", {c.num_attention_heads});
  block.wq_a = binder.matrix(prefix + "wq_a.weight", c.q_lora_rank, c.hidden_size);
  block.q_norm = binder.floats(prefix + "q_norm.weight", {c.q_lora_rank});
  block.wq_b =
      binder.matrix(prefix + "wq_b.weight", c.num_attention_heads * c.head_dim, c.q_lora_rank);
  block.wkv = binder.matrix(prefix + "wkv.weight", c.head_dim, c.hidden_size);
  block.kv_norm = binder.floats(prefix + "kv_norm.weight", {c.head_dim});
  block.wo_a = binder.matrix(prefix + "wo_a.weight", c.o_groups * c.o_lora_rank,
                             c.num_attention_heads / c.o_groups * c.head_dim);
  block.wo_b = binder.matrix(prefix + "wo_b.weight", c.hidden_size, c.o_groups * c.o_lora_rank);
  if (ratio != 0) {
    block.compressor = bind_compressor(binder, c, prefix + "compressor.", ratio, c.head_dim);
  }
  if (ratio == 4) block.indexer = bind_indexer(binder, c, prefix + "indexer.");
}

void bind_experts(Binder& binder, const ModelConfig& c, const std::string& prefix, bool hashed,
                  BlockWeights& block) {
  block.gate = binder.matrix(prefix + "gate.weight", c.n_routed_experts, c.hidden_size);
  if (hashed) {
    block.tid2eid = binder.hash_table(prefix + "gate.tid2eid", c.vocab_size, c.num_experts_per_tok,
                                      c.n_routed_experts);
  } else {
    block.gate_bias = binder.floats(prefix + "gate.bias", {c.n_routed_experts});
  }
  for (int expert = 0; expert < c.n_routed_experts; ++expert) {
    block.experts.push_back(bind_expert(binder, c, fmt::format("{}experts.{}.", prefix, expert)));
  }
  block.shared = bind_expert(binder, c, prefix + "shared_experts.");
}

BlockWeights bind_block(Binder& binder, const ModelConfig& c, const std::string& prefix, int ratio,
                        bool hashed) {
  BlockWeights block;
  block.attn_norm = binder.floats(prefix + "attn_norm.weight", {c.hidden_size});
  block.ffn_norm = binder.floats(prefix + "ffn_norm.weight", {c.hidden_size});
  block.hc_attn = bind_hyper(binder, c, prefix + "hc_attn");
  block.hc_ffn = bind_hyper(binder, c, prefix + "hc_ffn");
  bind_attention(binder, c, prefix + "attn.", ratio, block);
  bind_experts(binder, c, prefix + "ffn.", hashed, block);
  return block;
}

MtpWeights bind_mtp(Binder& binder, const ModelConfig& c, const std::string& prefix) {
  MtpWeights mtp;
  mtp.block = bind_block(binder, c, prefix, /*ratio=*/0, /*hashed=*/false);
  mtp.e_proj = binder.matrix(prefix + "e_proj.weight", c.hidden_size, c.hidden_size);
  mtp.h_proj = binder.matrix(prefix + "h_proj.weight", c.hidden_size, c.hidden_size);
  mtp.enorm = binder.floats(prefix + "enorm.weight", {c.hidden_size});
  mtp.hnorm = binder.floats(prefix + "hnorm.weight", {c.hidden_size});
  mtp.norm = binder.floats(prefix + "norm.weight", {c.hidden_size});
  mtp.hc_head = bind_hc_head(binder, c, prefix);
  return mtp;
}

// An MTP block works on the trunk's streams, so what shapes both must agree.
void check_same_shape(const Checkpoint& trunk, const Checkpoint& mtp) {
  const ModelConfig& a = trunk.config();
  const ModelConfig& b = mtp.config();
  const struct {
    const char* field;
    int trunk, mtp;
  } fields[] = {
      {"vocab_size", a.vocab_size, b.vocab_size},
      {"hidden_size", a.hidden_size, b.hidden_size},
      {"num_hidden_layers", a.num_hidden_layers, b.num_hidden_layers},
      {"num_attention_heads", a.num_attention_heads, b.num_attention_heads},
      {"head_dim", a.head_dim, b.head_dim},
      {"qk_rope_head_dim", a.qk_rope_head_dim, b.qk_rope_head_dim},
      {"q_lora_rank", a.q_lora_rank, b.q_lora_rank},
      {"o_groups", a.o_groups, b.o_groups},
      {"o_lora_rank", a.o_lora_rank, b.o_lora_rank},
      {"sliding_window", a.sliding_window, b.sliding_window},
      {"n_routed_experts", a.n_routed_experts, b.n_routed_experts},
      {"num_experts_per_tok", a.num_experts_per_tok, b.num_experts_per_tok},
      {"moe_intermediate_size", a.moe_intermediate_size, b.moe_intermediate_size},
  };
  for (const auto& field : fields) {
    if (field.trunk == field.mtp) continue;
    throw Error(fmt::format("{}: {} is {}, expected {} as in {}", mtp.path().string(), field.field,
                            field.mtp, field.trunk, trunk.path().string()));
  }
}

// The checkpoint that holds the MTP blocks, if any does: `separate` when a file was named.
Checkpoint* mtp_source(Checkpoint& trunk, Checkpoint* separate) {
  if (separate == nullptr) return trunk.has_mtp() ? &trunk : nullptr;
  if (!separate->has_mtp()) {
    throw Error(fmt::format("{}: holds no MTP block", separate->path().string()));
  }
  check_same_shape(trunk, *separate);
  return separate;
}

}  // namespace

LoadedModel load_model(const std::filesystem::path& model, const std::filesystem::path& mtp,
                       const LoadProgress& progress) {
  LoadedModel loaded{.checkpoint = std::make_unique<Checkpoint>(model)};
  Checkpoint& trunk = *loaded.checkpoint;
  const auto separate = mtp.empty() ? nullptr : std::make_unique<Checkpoint>(mtp);
  Checkpoint* const mtp_files = mtp_source(trunk, separate.get());

  ModelWeights& weights = loaded.weights;
  weights.config = trunk.config();
  weights.files = trunk.files();
  if (separate) std::ranges::copy(separate->files(), std::back_inserter(weights.files));
  const ModelConfig& c = weights.config;

  Binder binder(trunk, weights);
  const std::int64_t total =
      std::accumulate(weights.files.begin(), weights.files.end(), std::int64_t{0},
                      [](std::int64_t sum, const auto& file) { return sum + file->size(); });
  const auto report = [&] {
    if (progress) progress(binder.bytes(), total);
  };

  weights.embed = binder.matrix("embed.weight", c.vocab_size, c.hidden_size);
  weights.head = binder.matrix("head.weight", c.vocab_size, c.hidden_size);
  weights.norm = binder.floats("norm.weight", {c.hidden_size});
  weights.hc_head = bind_hc_head(binder, c, "");
  for (int layer = 0; layer < c.num_hidden_layers; ++layer) {
    weights.layers.push_back(bind_block(binder, c, fmt::format("layers.{}.", layer),
                                        c.compress_ratios[static_cast<std::size_t>(layer)],
                                        layer < c.num_hash_layers));
    report();
  }

  const int mtp_blocks = mtp_files ? mtp_files->config().num_nextn_predict_layers : 0;
  if (mtp_files != nullptr) binder.switch_to(*mtp_files);
  for (int block = 0; block < mtp_blocks; ++block) {
    weights.mtp.push_back(bind_mtp(binder, c, fmt::format("mtp.{}.", block)));
    report();
  }
  weights.config.num_nextn_predict_layers = mtp_blocks;
  weights.config.compress_ratios.resize(static_cast<std::size_t>(c.num_hidden_layers + mtp_blocks),
                                        0);
  for (const auto& file : weights.files) file->expect_unchanged();
  loaded.parameters = binder.parameters();
  return loaded;
}

ModelWeights load_weights(const std::filesystem::path& model, const std::filesystem::path& mtp,
                          const LoadProgress& progress) {
  return load_model(model, mtp, progress).weights;
}

}  // namespace fathom::engine
