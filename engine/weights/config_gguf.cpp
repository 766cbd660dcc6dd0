// GGUF metadata to ModelConfig.
#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/gguf.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/read_config.h"

namespace fathom::engine {
namespace {

constexpr std::string_view kArchitecture = "deepseek4";
constexpr std::int64_t kGatingSqrtSoftplus = 4;

// Looks up keys of the architecture, whose prefix it adds.
class Keys {
 public:
  explicit Keys(const Gguf& gguf) : gguf_(gguf), source_(gguf.file()->path().string()) {}

  std::string full(std::string_view key) const { return fmt::format("{}.{}", kArchitecture, key); }

  std::int64_t integer(std::string_view key) const {
    if (const auto value = gguf_.integer(full(key))) return *value;
    missing(key);
  }

  int small_integer(std::string_view key) const { return narrow(key, integer(key)); }

  int small_integer(std::string_view key, int otherwise) const {
    const auto value = gguf_.integer(full(key));
    return value ? narrow(key, *value) : otherwise;
  }

  double number(std::string_view key) const {
    if (const auto value = gguf_.number(full(key))) return *value;
    missing(key);
  }

  double number(std::string_view key, double otherwise) const {
    return gguf_.number(full(key)).value_or(otherwise);
  }

  // A key that may hold one value for all blocks or a list with one per block. The program has one
  // such field for the whole model, so the entries must agree.
  double common_number(std::string_view key, double otherwise) const {
    if (!gguf_.is_array(full(key))) return number(key, otherwise);
    const auto values = gguf_.numbers(full(key)).value();
    if (values.empty()) missing(key);
    const auto other = std::ranges::find_if(values, [&](double v) { return v != values.front(); });
    if (other == values.end()) return values.front();
    throw Error(fmt::format("{}: metadata key {} holds {} and {}, expected the same for all layers",
                            source_, full(key), values.front(), *other));
  }

  int narrow(std::string_view key, std::int64_t value) const {
    if (std::in_range<int>(value)) return static_cast<int>(value);
    throw Error(fmt::format("{}: metadata key {} is {}, expected an integer below 2^31", source_,
                            full(key), value));
  }

  void expect(std::string_view key, std::int64_t only) const {
    const auto value = gguf_.integer(full(key));
    if (!value || *value == only) return;
    throw Error(
        fmt::format("{}: metadata key {} is {}, expected {}", source_, full(key), *value, only));
  }

  const std::string& source() const noexcept { return source_; }

 private:
  [[noreturn]] void missing(std::string_view key) const {
    throw Error(fmt::format("{}: metadata key {} is missing", source_, full(key)));
  }

  const Gguf& gguf_;
  std::string source_;
};

void check_architecture(const Gguf& gguf, const Keys& keys) {
  const auto found = gguf.text("general.architecture");
  if (found != kArchitecture) {
    throw Error(fmt::format("{}: general.architecture is {}, expected {}", keys.source(),
                            found.value_or("missing"), kArchitecture));
  }
  keys.expect("attention.head_count_kv", 1);
  keys.expect("expert_shared_count", 1);
  keys.expect("expert_gating_func", kGatingSqrtSoftplus);
}

RopeScaling read_rope_scaling(const Gguf& gguf, const Keys& keys) {
  const auto type = gguf.text(keys.full("rope.scaling.type"));
  if (!type || *type == "none") return {};
  if (*type != "yarn") {
    throw Error(fmt::format("{}: metadata key {} is {}, expected yarn", keys.source(),
                            keys.full("rope.scaling.type"), *type));
  }
  return {.factor = keys.number("rope.scaling.factor"),
          .original_max_position_embeddings = keys.integer("rope.scaling.original_context_length"),
          .beta_fast = keys.number("rope.scaling.yarn_beta_fast", 32),
          .beta_slow = keys.number("rope.scaling.yarn_beta_slow", 1)};
}

std::vector<int> read_ratios(const Gguf& gguf, const Keys& keys) {
  const auto values = gguf.integers(keys.full("attention.compress_ratios"));
  if (!values) {
    throw Error(fmt::format("{}: metadata key {} is missing", keys.source(),
                            keys.full("attention.compress_ratios")));
  }
  std::vector<int> ratios;
  for (const std::int64_t value : *values) {
    ratios.push_back(keys.narrow("attention.compress_ratios", value));
  }
  return ratios;
}

void read_attention(const Gguf& gguf, const Keys& keys, ModelConfig& config) {
  config.num_attention_heads = keys.small_integer("attention.head_count");
  config.head_dim = keys.small_integer("attention.key_length");
  keys.expect("attention.value_length", config.head_dim);
  config.qk_rope_head_dim = keys.small_integer("rope.dimension_count");
  config.q_lora_rank = keys.small_integer("attention.q_lora_rank");
  config.o_groups = keys.small_integer("attention.output_group_count");
  config.o_lora_rank = keys.small_integer("attention.output_lora_rank");
  config.sliding_window = keys.small_integer("attention.sliding_window");
  config.compress_ratios = read_ratios(gguf, keys);
  config.rope_theta = keys.number("rope.freq_base");
  config.compress_rope_theta = keys.number("attention.compress_rope_freq_base");
  config.rope_scaling = read_rope_scaling(gguf, keys);
  config.index_n_heads = keys.small_integer("attention.indexer.head_count");
  config.index_head_dim = keys.small_integer("attention.indexer.key_length");
  config.index_topk = keys.small_integer("attention.indexer.top_k");
  config.rms_norm_eps = keys.number("attention.layer_norm_rms_epsilon");
}

void read_experts(const Gguf& gguf, const Keys& keys, ModelConfig& config) {
  config.n_routed_experts = keys.small_integer("expert_count");
  config.num_experts_per_tok = keys.small_integer("expert_used_count");
  const double width = keys.common_number("expert_feed_forward_length", 0);
  config.moe_intermediate_size =
      width > 0 && width < std::numeric_limits<int>::max() ? static_cast<int>(width) : 0;
  config.num_hash_layers = keys.small_integer("hash_layer_count", 0);
  config.norm_topk_prob = gguf.boolean(keys.full("expert_weights_norm")).value_or(true);
  config.routed_scaling_factor = keys.number("expert_weights_scale", 1);
  config.swiglu_limit = keys.common_number("swiglu_clamp_exp", 0);
  config.swiglu_limit_shared = keys.common_number("swiglu_clamp_shexp", config.swiglu_limit);
}

}  // namespace

ModelConfig read_config_gguf(const Gguf& gguf) {
  const Keys keys(gguf);
  check_architecture(gguf, keys);

  ModelConfig config;
  const int blocks = keys.small_integer("block_count");
  config.num_nextn_predict_layers = keys.small_integer("nextn_predict_layers", 0);
  if (blocks < 1 || config.num_nextn_predict_layers < 0 ||
      config.num_nextn_predict_layers >= blocks) {
    throw Error(
        fmt::format("{}: block_count is {} and nextn_predict_layers {}, expected more "
                    "blocks than MTP blocks",
                    keys.source(), blocks, config.num_nextn_predict_layers));
  }
  config.num_hidden_layers = blocks - config.num_nextn_predict_layers;
  config.vocab_size = keys.small_integer("vocab_size");
  config.hidden_size = keys.small_integer("embedding_length");
  config.max_position_embeddings = keys.integer("context_length");
  read_attention(gguf, keys, config);
  read_experts(gguf, keys, config);
  config.hc_mult = keys.small_integer("hyper_connection.count");
  config.hc_sinkhorn_iters = keys.small_integer("hyper_connection.sinkhorn_iterations");
  config.hc_eps = keys.number("hyper_connection.epsilon");
  const auto token = [&](const char* key, int otherwise) {
    const auto value = gguf.integer(key);
    return value && std::in_range<int>(*value) ? static_cast<int>(*value) : otherwise;
  };
  config.bos_token_id = token("tokenizer.ggml.bos_token_id", 0);
  config.eos_token_id = token("tokenizer.ggml.eos_token_id", 1);
  // Ours alone: other programs tell chat encodings by a template.
  if (gguf.text("fathom.family") == family_name(Family::v0731)) config.family = Family::v0731;
  fit_ratios(config);
  validate(config, keys.source());
  return config;
}

}  // namespace fathom::engine
