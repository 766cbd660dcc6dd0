// config.json to ModelConfig.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/weights/json_file.h"
#include "engine/weights/read_config.h"

namespace fathom::engine {
namespace {

using nlohmann::json;

// Looks fields up and says what is wrong with them. null counts as missing.
class Fields {
 public:
  Fields(const json& object, std::string source) : object_(object), source_(std::move(source)) {}

  const json* find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::int64_t integer(const char* field) const {
    const json& value = require(field);
    if (value.is_number_integer() && !too_large(value)) return value.get<std::int64_t>();
    refuse(field, value, "an integer");
  }

  int small_integer(const char* field) const { return narrow(field, integer(field)); }

  int small_integer(const char* field, int otherwise) const {
    return find(field) == nullptr ? otherwise : small_integer(field);
  }

  double number(const char* field) const {
    const json& value = require(field);
    if (value.is_number()) return value.get<double>();
    refuse(field, value, "a number");
  }

  double number(const char* field, double otherwise) const {
    return find(field) == nullptr ? otherwise : number(field);
  }

  std::vector<int> small_integers(const char* field) const {
    const json& list = require(field);
    if (!list.is_array()) refuse(field, list, "a list of integers");
    std::vector<int> values;
    for (const json& value : list) {
      if (!value.is_number_integer() || too_large(value)) refuse(field, value, "integers");
      values.push_back(narrow(field, value.get<std::int64_t>()));
    }
    return values;
  }

  // The program knows one value of the field; a checkpoint with another must not be run.
  void expect(const char* field, const json& only) const {
    const json* value = find(field);
    if (value != nullptr && *value != only) refuse(field, *value, show(only));
  }

  [[noreturn]] void refuse(const char* field, const json& found,
                           const std::string& expected) const {
    throw Error(fmt::format("{}: {} is {}, expected {}", source_, field, show(found), expected));
  }

  const std::string& source() const noexcept { return source_; }

 private:
  static bool too_large(const json& value) {
    return value.is_number_unsigned() &&
           value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
  }

  static std::string show(const json& value) {
    constexpr std::size_t kShownMax = 80;
    std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
    return text.size() <= kShownMax ? text : text.substr(0, kShownMax) + " …";
  }

  int narrow(const char* field, std::int64_t value) const {
    if (std::in_range<int>(value)) return static_cast<int>(value);
    refuse(field, json(value), "an integer below 2^31");
  }

  const json& require(const char* field) const {
    if (const json* value = find(field)) return *value;
    throw Error(fmt::format("{}: {} is missing", source_, field));
  }

  const json& object_;
  std::string source_;
};

void check_architecture(const Fields& fields) {
  constexpr const char* kArchitecture = "DeepseekV4ForCausalLM";
  fields.expect("architectures", json::array({kArchitecture}));
  fields.expect("model_type", "deepseek_v4");
  if (fields.find("architectures") == nullptr && fields.find("model_type") == nullptr) {
    throw Error(fmt::format("{}: architectures is missing, expected [\"{}\"]", fields.source(),
                            kArchitecture));
  }
  fields.expect("num_key_value_heads", 1);
  fields.expect("n_shared_experts", 1);
  fields.expect("scoring_func", "sqrtsoftplus");
  fields.expect("topk_method", "noaux_tc");
  fields.expect("hidden_act", "silu");
  fields.expect("tie_word_embeddings", false);
  fields.expect("attention_bias", false);
}

Family read_family(const Fields& fields) {
  constexpr std::array kKeys = {"dspark_block_size", "dspark_markov_rank", "dspark_noise_token_id",
                                "dspark_target_layer_ids"};
  const auto found =
      std::ranges::count_if(kKeys, [&](const char* key) { return fields.find(key) != nullptr; });
  if (found == 0) return Family::preview;
  if (found == std::ssize(kKeys)) return Family::v0731;
  throw Error(
      fmt::format("{}: {} of the 4 dspark_* keys are there, expected none (a preview "
                  "checkpoint) or all (0731)",
                  fields.source(), found));
}

RopeScaling read_rope_scaling(const Fields& fields) {
  const json* object = fields.find("rope_scaling");
  if (object == nullptr) return {};
  if (!object->is_object()) fields.refuse("rope_scaling", *object, "an object or null");
  const Fields scaling(*object, fields.source() + ": rope_scaling");
  scaling.expect("type", "yarn");
  scaling.expect("rope_type", "yarn");
  return {.factor = scaling.number("factor"),
          .original_max_position_embeddings = scaling.integer("original_max_position_embeddings"),
          .beta_fast = scaling.number("beta_fast", 32),
          .beta_slow = scaling.number("beta_slow", 1)};
}

bool read_norm_topk_prob(const Fields& fields) {
  const json* value = fields.find("norm_topk_prob");
  if (value == nullptr) return true;
  if (!value->is_boolean()) fields.refuse("norm_topk_prob", *value, "true or false");
  return value->get<bool>();
}

}  // namespace

ModelConfig read_config_json(const std::filesystem::path& path) {
  const json object = read_object(path);
  const Fields fields(object, path.string());
  check_architecture(fields);

  ModelConfig config;
  config.family = read_family(fields);
  config.vocab_size = fields.small_integer("vocab_size");
  config.hidden_size = fields.small_integer("hidden_size");
  config.num_hidden_layers = fields.small_integer("num_hidden_layers");
  if (config.family == Family::preview) {
    config.num_nextn_predict_layers = fields.small_integer("num_nextn_predict_layers", 0);
  }
  config.num_attention_heads = fields.small_integer("num_attention_heads");
  config.head_dim = fields.small_integer("head_dim");
  config.qk_rope_head_dim = fields.small_integer("qk_rope_head_dim");
  config.q_lora_rank = fields.small_integer("q_lora_rank");
  config.o_groups = fields.small_integer("o_groups");
  config.o_lora_rank = fields.small_integer("o_lora_rank");
  config.sliding_window = fields.small_integer("sliding_window");
  config.compress_ratios = fields.small_integers("compress_ratios");
  config.rope_theta = fields.number("rope_theta");
  config.compress_rope_theta = fields.number("compress_rope_theta");
  config.rope_scaling = read_rope_scaling(fields);
  config.max_position_embeddings = fields.integer("max_position_embeddings");
  config.index_n_heads = fields.small_integer("index_n_heads");
  config.index_head_dim = fields.small_integer("index_head_dim");
  config.index_topk = fields.small_integer("index_topk");
  config.n_routed_experts = fields.small_integer("n_routed_experts");
  config.num_experts_per_tok = fields.small_integer("num_experts_per_tok");
  config.moe_intermediate_size = fields.small_integer("moe_intermediate_size");
  config.num_hash_layers = fields.small_integer("num_hash_layers");
  config.norm_topk_prob = read_norm_topk_prob(fields);
  config.routed_scaling_factor = fields.number("routed_scaling_factor");
  config.swiglu_limit = fields.number("swiglu_limit", 0);
  config.swiglu_limit_shared = config.swiglu_limit;
  config.hc_mult = fields.small_integer("hc_mult");
  config.hc_sinkhorn_iters = fields.small_integer("hc_sinkhorn_iters");
  config.hc_eps = fields.number("hc_eps");
  config.rms_norm_eps = fields.number("rms_norm_eps");
  config.bos_token_id = fields.small_integer("bos_token_id", 0);
  config.eos_token_id = fields.small_integer("eos_token_id", 1);
  fit_ratios(config);
  validate(config, path.string());
  return config;
}

}  // namespace fathom::engine
