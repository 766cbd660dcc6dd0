// Every relation between hyper-parameters that the forward pass relies on, checked once.
#include "engine/config.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/limits.h"

namespace fathom::engine {
namespace {

struct Extent {
  const char* field;
  std::int64_t value;
  std::int64_t least;
  std::int64_t most;
};

struct Number {
  const char* field;
  double value;
  double least;  // itself not allowed
};

// Powers of two at least eight times those of V4-Pro, chosen so that any product of two fits into
// an int and any product of three into 64 bits.
constexpr std::int64_t kLayersMax = 1024;
constexpr std::int64_t kHeadsMax = 1 << 12;
constexpr std::int64_t kHeadDimMax = 1 << 13;
constexpr std::int64_t kRankMax = 1 << 15;
constexpr std::int64_t kHiddenMax = 1 << 17;
constexpr std::int64_t kExpertsMax = 1 << 14;
constexpr std::int64_t kVocabMax = 1 << 24;
constexpr std::int64_t kPositionsMax = 1 << 30;
constexpr std::int64_t kIterationsMax = 1000;
// A buffer holds so many rows for each token of a chunk, whatever tensors the file has.
constexpr std::int64_t kTopkMax = 1 << 16;

[[noreturn]] void refuse(const std::string& source, const std::string& field,
                         const std::string& found, const std::string& expected) {
  throw Error(fmt::format("{}: {} is {}, expected {}", source, field, found, expected));
}

bool has_indexer(const ModelConfig& c) {
  return std::ranges::count(c.compress_ratios, 4) > 0;
}

void check_extents(const ModelConfig& c, const std::string& source) {
  const std::int64_t indexer = has_indexer(c) ? 1 : 0;
  const Extent extents[] = {
      {"vocab_size", c.vocab_size, 1, kVocabMax},
      {"hidden_size", c.hidden_size, 1, kHiddenMax},
      {"num_hidden_layers", c.num_hidden_layers, 1, kLayersMax},
      {"num_nextn_predict_layers", c.num_nextn_predict_layers, 0, kLayersMax},
      {"num_attention_heads", c.num_attention_heads, 1, kHeadsMax},
      {"head_dim", c.head_dim, 2, kHeadDimMax},
      {"qk_rope_head_dim", c.qk_rope_head_dim, 2, c.head_dim},
      {"q_lora_rank", c.q_lora_rank, 1, kRankMax},
      {"o_groups", c.o_groups, 1, std::min(c.num_attention_heads, kOutputGroupsMax)},
      {"o_lora_rank", c.o_lora_rank, 1, kRankMax},
      {"sliding_window", c.sliding_window, 1, 1 << 20},
      {"max_position_embeddings", c.max_position_embeddings, 1, kPositionsMax},
      {"index_n_heads", c.index_n_heads, indexer, kHeadsMax},
      {"index_head_dim", c.index_head_dim, indexer, kIndexHeadDimMax},
      {"index_topk", c.index_topk, indexer, kTopkMax},
      {"n_routed_experts", c.n_routed_experts, 1, kExpertsMax},
      {"num_experts_per_tok", c.num_experts_per_tok, 1,
       std::min(c.n_routed_experts, kExpertsPerTokenMax)},
      {"moe_intermediate_size", c.moe_intermediate_size, 1, kHiddenMax},
      {"num_hash_layers", c.num_hash_layers, 0, c.num_hidden_layers},
      {"hc_mult", c.hc_mult, 4, 4},
      {"hc_sinkhorn_iters", c.hc_sinkhorn_iters, 1, kIterationsMax},
      {"bos_token_id", c.bos_token_id, 0, c.vocab_size - 1},
      {"eos_token_id", c.eos_token_id, 0, c.vocab_size - 1},
  };
  for (const Extent& e : extents) {
    if (e.value >= e.least && e.value <= e.most) continue;
    refuse(
        source, e.field, fmt::format("{}", e.value),
        e.least == e.most ? fmt::format("{}", e.most) : fmt::format("{} to {}", e.least, e.most));
  }
}

void check_numbers(const ModelConfig& c, const std::string& source) {
  constexpr double kAny = -1;
  const Number numbers[] = {
      {"rope_theta", c.rope_theta, 1},  // its logarithm is a divisor
      {"compress_rope_theta", c.compress_rope_theta, 1},
      {"rope_scaling.factor", c.rope_scaling.factor, 0},
      {"rope_scaling.beta_fast", c.rope_scaling.beta_fast, 0},
      {"rope_scaling.beta_slow", c.rope_scaling.beta_slow, 0},
      {"routed_scaling_factor", c.routed_scaling_factor, 0},
      {"swiglu_limit", c.swiglu_limit, kAny},
      {"swiglu_limit of the shared expert", c.swiglu_limit_shared, kAny},
      {"hc_eps", c.hc_eps, 0},
      {"rms_norm_eps", c.rms_norm_eps, 0},
  };
  for (const Number& n : numbers) {
    const bool enough = n.least == kAny ? n.value >= 0 : n.value > n.least;
    // Most of them are used as float.
    if (std::isfinite(static_cast<float>(n.value)) && enough) continue;
    refuse(source, n.field, fmt::format("{}", n.value),
           n.least == kAny ? std::string("a finite number from 0")
                           : fmt::format("a finite number above {}", n.least));
  }
  if (c.rope_scaling.factor != 1 && c.rope_scaling.original_max_position_embeddings < 1) {
    refuse(source, "rope_scaling.original_max_position_embeddings",
           fmt::format("{}", c.rope_scaling.original_max_position_embeddings), "at least 1");
  }
}

void check_ratios(const ModelConfig& c, const std::string& source) {
  const int blocks = c.num_hidden_layers + c.num_nextn_predict_layers;
  if (std::ssize(c.compress_ratios) != blocks) {
    refuse(source, "compress_ratios", fmt::format("a list of {}", c.compress_ratios.size()),
           fmt::format("one entry for each of {} blocks", blocks));
  }
  for (int i = 0; i < blocks; ++i) {
    const int ratio = c.compress_ratios[static_cast<std::size_t>(i)];
    const bool trunk = i < c.num_hidden_layers;
    if (ratio == 0 || (trunk && (ratio == 4 || ratio == 128))) continue;
    refuse(source, fmt::format("compress_ratios[{}]", i), fmt::format("{}", ratio),
           trunk ? "0, 4 or 128" : "0 in an MTP block");
  }
}

void check_relations(const ModelConfig& c, const std::string& source) {
  if (c.qk_rope_head_dim % 2 != 0) {
    refuse(source, "qk_rope_head_dim", fmt::format("{}", c.qk_rope_head_dim), "an even number");
  }
  if (c.num_attention_heads % c.o_groups != 0) {
    refuse(source, "o_groups", fmt::format("{}", c.o_groups),
           fmt::format("a divisor of num_attention_heads, {}", c.num_attention_heads));
  }
  if (!has_indexer(c)) return;
  const int width = c.index_head_dim;
  if ((width & (width - 1)) != 0 || width < c.qk_rope_head_dim) {
    refuse(source, "index_head_dim", fmt::format("{}", width),
           fmt::format("a power of two, for the Hadamard rotation, not below qk_rope_head_dim, {}",
                       c.qk_rope_head_dim));
  }
}

}  // namespace

void validate(const ModelConfig& config, const std::string& source) {
  check_extents(config, source);
  check_numbers(config, source);
  check_ratios(config, source);
  check_relations(config, source);
}

void fit_ratios(ModelConfig& config) {
  const std::int64_t blocks =
      std::int64_t{config.num_hidden_layers} + config.num_nextn_predict_layers;
  if (blocks < 0 || blocks >= std::ssize(config.compress_ratios)) return;
  config.compress_ratios.resize(static_cast<std::size_t>(blocks));
}

std::string_view family_name(Family family) noexcept {
  return family == Family::v0731 ? "0731" : "preview";
}

}  // namespace fathom::engine
