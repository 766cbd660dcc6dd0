// Walks the weights block by block (spec architecture 9.2).
#include "engine/convert/plan.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "engine/weights/gguf_names.h"

namespace fathom::engine {
namespace {

// The type that keeps what the checkpoint has, as far as GGUF has one: FP8 has none.
StoredType carried(Format format) noexcept {
  switch (format) {
    case Format::f32:
      return StoredType::f32;
    case Format::f16:
      return StoredType::f16;
    case Format::bf16:
      return StoredType::bf16;
    case Format::fp8:
      return StoredType::q8_0;
    case Format::fp4:
      return StoredType::mxfp4;
    default:
      assert(false && "a format of Hugging Face folders");
      return StoredType::f32;
  }
}

// Values as they lie in memory, in rows of `columns`.
Tensor tensor_of(std::span<const float> values, std::int64_t columns) noexcept {
  return {.format = Format::f32,
          .rows = std::ssize(values) / columns,
          .columns = columns,
          .row_bytes = columns * std::int64_t{sizeof(float)},
          .data = reinterpret_cast<const std::byte*>(values.data())};
}

class Planner {
 public:
  Planner(const ModelWeights& weights, const PlannedTypes& types)
      : config_(weights.config), types_(types) {}

  void vector(const std::string& name, std::span<const float> values) {
    add({.name = place(name),
         .shape = {std::ssize(values)},
         .matrices = {tensor_of(values, std::ssize(values))}});
  }

  void rows(const std::string& name, std::span<const float> values, std::int64_t columns) {
    const Tensor tensor = tensor_of(values, columns);
    add({.name = place(name), .shape = {tensor.rows, columns}, .matrices = {tensor}});
  }

  void matrix(const std::string& name, const Tensor& tensor) { matrix(name, tensor, {}); }

  void projection(const std::string& name, const Tensor& tensor) {
    matrix(name, tensor, types_.projections);
  }

  void table(const std::string& name, const Tensor& tensor) {
    add({.name = place(name),
         .type = StoredType::i32,
         .shape = {tensor.rows, tensor.columns},
         .matrices = {tensor}});
  }

  // The same matrix of every expert.
  void experts(const std::string& prefix, const char* which, const BlockWeights& block,
               Tensor ExpertWeights::*member) {
    PlannedTensor planned{.name = place(fmt::format("{}experts.0.{}.weight", prefix, which))};
    for (const ExpertWeights& expert : block.experts) planned.matrices.push_back(expert.*member);
    const Tensor& first = planned.matrices.front();
    planned.shape = {std::ssize(planned.matrices), first.rows, first.columns};
    planned.type = choose(planned, types_.experts);
    add(std::move(planned));
  }

  void joined(const std::string& name, const Tensor& left, const Tensor& right) {
    PlannedTensor planned{.name = place(name),
                          .shape = {left.rows, left.columns + right.columns},
                          .matrices = {left},
                          .right = right};
    planned.type = choose(planned, types_.projections);
    add(std::move(planned));
  }

  Plan finish() { return std::move(plan_); }

 private:
  std::string place(const std::string& name) const {
    return gguf_place(name, config_.num_hidden_layers).value().name;
  }

  void matrix(const std::string& name, const Tensor& tensor, std::optional<StoredType> wish) {
    PlannedTensor planned{
        .name = place(name), .shape = {tensor.rows, tensor.columns}, .matrices = {tensor}};
    planned.type = choose(planned, wish);
    add(std::move(planned));
  }

  // What was wished for or is there already, if rows are whole blocks of it.
  StoredType choose(const PlannedTensor& planned, std::optional<StoredType> wish) {
    const Format format = planned.matrices.front().format;
    const StoredType wanted = wish.value_or(carried(format));
    const auto fits = [&](StoredType type) {
      return planned.columns() % layout_of(*format_of(type)).entries == 0;
    };
    if (fits(wanted)) return wanted;
    // BF16 holds every FP8 weight.
    const StoredType other = fits(StoredType::q8_0)  ? StoredType::q8_0
                             : format == Format::fp8 ? StoredType::bf16
                                                     : carried(format);
    plan_.notes.push_back(
        fmt::format("{}: rows of {} columns are no whole blocks of {}, stored as {}", planned.name,
                    planned.columns(), type_name(wanted), type_name(other)));
    return other;
  }

  void add(PlannedTensor planned) { plan_.tensors.push_back(std::move(planned)); }

  const ModelConfig& config_;
  PlannedTypes types_;
  Plan plan_;
};

void plan_hyper(Planner& planner, const std::string& name, const HyperWeights& hyper) {
  planner.rows(name + "_fn", hyper.fn, std::ssize(hyper.fn) / std::ssize(hyper.base));
  planner.vector(name + "_base", hyper.base);
  planner.vector(name + "_scale", hyper.scale);
}

void plan_hc_head(Planner& planner, const std::string& prefix, const HcHead& head) {
  planner.rows(prefix + "hc_head_fn", head.fn, std::ssize(head.fn) / std::ssize(head.base));
  planner.vector(prefix + "hc_head_base", head.base);
  planner.vector(prefix + "hc_head_scale", {&head.scale, 1});
}

void plan_compressor(Planner& planner, const std::string& prefix,
                     const CompressorWeights& compressor) {
  planner.matrix(prefix + "wkv.weight", compressor.wkv);
  planner.matrix(prefix + "wgate.weight", compressor.wgate);
  planner.rows(prefix + "ape", compressor.ape, compressor.wgate.rows);
  planner.vector(prefix + "norm.weight", compressor.norm);
}

void plan_attention(Planner& planner, const std::string& prefix, const BlockWeights& block) {
  planner.vector(prefix + "attn_sink", block.attn_sink);
  planner.projection(prefix + "wq_a.weight", block.wq_a);
  planner.vector(prefix + "q_norm.weight", block.q_norm);
  planner.projection(prefix + "wq_b.weight", block.wq_b);
  planner.projection(prefix + "wkv.weight", block.wkv);
  planner.vector(prefix + "kv_norm.weight", block.kv_norm);
  planner.projection(prefix + "wo_a.weight", block.wo_a);
  planner.projection(prefix + "wo_b.weight", block.wo_b);
  if (block.compressor) plan_compressor(planner, prefix + "compressor.", *block.compressor);
  if (!block.indexer) return;
  planner.projection(prefix + "indexer.wq_b.weight", block.indexer->wq_b);
  planner.matrix(prefix + "indexer.weights_proj.weight", block.indexer->weights_proj);
  plan_compressor(planner, prefix + "indexer.compressor.", block.indexer->compressor);
}

void plan_experts(Planner& planner, const std::string& prefix, const BlockWeights& block) {
  planner.matrix(prefix + "gate.weight", block.gate);
  if (block.tid2eid) planner.table(prefix + "gate.tid2eid", *block.tid2eid);
  if (!block.gate_bias.empty()) planner.vector(prefix + "gate.bias", block.gate_bias);
  planner.experts(prefix, "w1", block, &ExpertWeights::w1);
  planner.experts(prefix, "w3", block, &ExpertWeights::w3);
  planner.experts(prefix, "w2", block, &ExpertWeights::w2);
  planner.projection(prefix + "shared_experts.w1.weight", block.shared.w1);
  planner.projection(prefix + "shared_experts.w3.weight", block.shared.w3);
  planner.projection(prefix + "shared_experts.w2.weight", block.shared.w2);
}

void plan_block(Planner& planner, const std::string& prefix, const BlockWeights& block) {
  planner.vector(prefix + "attn_norm.weight", block.attn_norm);
  planner.vector(prefix + "ffn_norm.weight", block.ffn_norm);
  plan_hyper(planner, prefix + "hc_attn", block.hc_attn);
  plan_hyper(planner, prefix + "hc_ffn", block.hc_ffn);
  plan_attention(planner, prefix + "attn.", block);
  plan_experts(planner, prefix + "ffn.", block);
}

void plan_shared(Planner& planner, const ModelWeights& weights) {
  planner.matrix("embed.weight", weights.embed);
  planner.vector("norm.weight", weights.norm);
  planner.matrix("head.weight", weights.head);
}

}  // namespace

Plan plan_trunk(const ModelWeights& weights, const PlannedTypes& types) {
  Planner planner(weights, types);
  plan_shared(planner, weights);
  plan_hc_head(planner, "", weights.hc_head);
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    plan_block(planner, fmt::format("layers.{}.", layer), weights.layers[layer]);
  }
  return planner.finish();
}

Plan plan_mtp(const ModelWeights& weights, const PlannedTypes& types) {
  Planner planner(weights, types);
  plan_shared(planner, weights);
  for (std::size_t i = 0; i < weights.mtp.size(); ++i) {
    const MtpWeights& mtp = weights.mtp[i];
    const std::string prefix = fmt::format("mtp.{}.", i);
    plan_block(planner, prefix, mtp.block);
    planner.joined(prefix + "e_proj.weight", mtp.e_proj, mtp.h_proj);
    planner.vector(prefix + "enorm.weight", mtp.enorm);
    planner.vector(prefix + "hnorm.weight", mtp.hnorm);
    planner.vector(prefix + "norm.weight", mtp.norm);
    plan_hc_head(planner, prefix, mtp.hc_head);
  }
  return planner.finish();
}

}  // namespace fathom::engine
