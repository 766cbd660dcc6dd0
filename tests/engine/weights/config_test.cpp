// Hyper-parameters from both containers, and every value that must be refused.
#include "engine/config.h"

#include <cmath>
#include <functional>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/weights/gguf.h"
#include "engine/weights/read_config.h"
#include "tests/engine/weights/model_copy.h"

namespace fathom::engine {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig golden_config() {
  return read_config_json(golden("gb/hf/config.json"));
}

// What is said about the golden configuration after a change to its values.
std::string refusal(const std::function<void(ModelConfig&)>& change) {
  ModelConfig config = golden_config();
  change(config);
  try {
    validate(config, "model");
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// What is said about the golden config.json after a change to its text.
std::string json_refusal(const std::function<void(json&)>& change) {
  ModelCopy model("gb/hf");
  model.edit_json("config.json", change);
  try {
    read_config_json(model.path() / "config.json");
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(Config, ReadsConfigJson) {
  const ModelConfig c = golden_config();
  EXPECT_EQ(c.vocab_size, 512);
  EXPECT_EQ(c.num_hidden_layers, 5);
  EXPECT_EQ(c.num_nextn_predict_layers, 1);
  EXPECT_THAT(c.compress_ratios, ElementsAre(0, 0, 4, 128, 4, 0));
  EXPECT_EQ(c.compress_rope_theta, 40000);
  EXPECT_EQ(c.rope_scaling.factor, 16);
  EXPECT_EQ(c.rope_scaling.original_max_position_embeddings, 512);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.hc_sinkhorn_iters, 12);
  EXPECT_EQ(c.swiglu_limit, 1.0);
  EXPECT_EQ(c.swiglu_limit_shared, 1.0);
  EXPECT_EQ(c.family, Family::preview);
}

TEST(Config, BothContainersSayTheSame) {
  for (const auto& [hf, gguf] : {std::pair{"ga/hf/config.json", "ga/ga.f32.gguf"},
                                 std::pair{"gb/hf/config.json", "gb/gb.official.gguf"},
                                 std::pair{"gc/hf/config.json", "gc/gc.bf16.gguf"}}) {
    const ModelConfig a = read_config_json(golden(hf));
    const ModelConfig b = read_config_gguf(Gguf(golden(gguf)));
    EXPECT_EQ(a.vocab_size, b.vocab_size);
    EXPECT_EQ(a.hidden_size, b.hidden_size);
    EXPECT_EQ(a.num_hidden_layers, b.num_hidden_layers);
    EXPECT_EQ(b.num_nextn_predict_layers, 0);
    EXPECT_EQ(a.num_attention_heads, b.num_attention_heads);
    EXPECT_EQ(a.head_dim, b.head_dim);
    EXPECT_EQ(a.qk_rope_head_dim, b.qk_rope_head_dim);
    EXPECT_EQ(a.q_lora_rank, b.q_lora_rank);
    EXPECT_EQ(a.o_groups, b.o_groups);
    EXPECT_EQ(a.o_lora_rank, b.o_lora_rank);
    EXPECT_EQ(a.sliding_window, b.sliding_window);
    EXPECT_EQ(a.rope_theta, b.rope_theta);
    EXPECT_EQ(a.compress_rope_theta, b.compress_rope_theta);
    EXPECT_EQ(a.rope_scaling.factor, b.rope_scaling.factor);
    EXPECT_EQ(a.rope_scaling.original_max_position_embeddings,
              b.rope_scaling.original_max_position_embeddings);
    EXPECT_EQ(a.max_position_embeddings, b.max_position_embeddings);
    EXPECT_EQ(a.index_n_heads, b.index_n_heads);
    EXPECT_EQ(a.index_head_dim, b.index_head_dim);
    EXPECT_EQ(a.index_topk, b.index_topk);
    EXPECT_EQ(a.n_routed_experts, b.n_routed_experts);
    EXPECT_EQ(a.num_experts_per_tok, b.num_experts_per_tok);
    EXPECT_EQ(a.moe_intermediate_size, b.moe_intermediate_size);
    EXPECT_EQ(a.num_hash_layers, b.num_hash_layers);
    EXPECT_EQ(a.norm_topk_prob, b.norm_topk_prob);
    EXPECT_EQ(a.routed_scaling_factor, b.routed_scaling_factor);
    EXPECT_EQ(a.swiglu_limit, b.swiglu_limit);
    EXPECT_EQ(a.swiglu_limit_shared, b.swiglu_limit_shared);
    EXPECT_EQ(a.hc_sinkhorn_iters, b.hc_sinkhorn_iters);
    // GGUF stores these as float32.
    EXPECT_EQ(static_cast<float>(a.rms_norm_eps), static_cast<float>(b.rms_norm_eps));
    EXPECT_EQ(static_cast<float>(a.hc_eps), static_cast<float>(b.hc_eps));
  }
}

TEST(Config, NamesFieldFoundAndExpected) {
  EXPECT_EQ(refusal([](ModelConfig& c) { c.hidden_size = 0; }),
            "model: hidden_size is 0, expected 1 to 131072");
  EXPECT_EQ(refusal([](ModelConfig& c) { c.hc_mult = 2; }), "model: hc_mult is 2, expected 4");
}

TEST(Config, RefusesWhatTheForwardPassCannotRun) {
  const struct {
    const char* part;
    std::function<void(ModelConfig&)> change;
  } cases[] = {
      {"vocab_size is -1", [](ModelConfig& c) { c.vocab_size = -1; }},
      {"num_hidden_layers is 0", [](ModelConfig& c) { c.num_hidden_layers = 0; }},
      {"num_attention_heads is 2147483647",
       [](ModelConfig& c) { c.num_attention_heads = 2147483647; }},
      {"qk_rope_head_dim is 33, expected an even number",
       [](ModelConfig& c) { c.qk_rope_head_dim = 33; }},
      {"qk_rope_head_dim is 258", [](ModelConfig& c) { c.qk_rope_head_dim = 258; }},
      {"o_groups is 3, expected a divisor", [](ModelConfig& c) { c.o_groups = 3; }},
      {"o_groups is 64, expected 1 to 32",
       [](ModelConfig& c) { c.o_groups = c.num_attention_heads = 64; }},
      {"index_head_dim is 2048, expected 1 to 1024",
       [](ModelConfig& c) { c.index_head_dim = 2048; }},
      {"index_topk is 16777216, expected 1 to 65536",
       [](ModelConfig& c) { c.index_topk = 1 << 24; }},
      {"index_head_dim is 96, expected a power of two",
       [](ModelConfig& c) { c.index_head_dim = 96; }},
      {"index_head_dim is 32", [](ModelConfig& c) { c.index_head_dim = 32; }},
      {"num_experts_per_tok is 17, expected 1 to 16",
       [](ModelConfig& c) { c.num_experts_per_tok = 17; }},
      {"num_experts_per_tok is 64, expected 1 to 63",
       [](ModelConfig& c) { c.num_experts_per_tok = c.n_routed_experts = 64; }},
      {"num_hash_layers is 6", [](ModelConfig& c) { c.num_hash_layers = 6; }},
      {"compress_ratios is a list of 5", [](ModelConfig& c) { c.compress_ratios.pop_back(); }},
      {"compress_ratios[1] is 8, expected 0, 4 or 128",
       [](ModelConfig& c) { c.compress_ratios[1] = 8; }},
      {"compress_ratios[5] is 4, expected 0 in an MTP block",
       [](ModelConfig& c) { c.compress_ratios[5] = 4; }},
      {"eos_token_id is 512", [](ModelConfig& c) { c.eos_token_id = 512; }},
      {"rms_norm_eps is nan",
       [](ModelConfig& c) { c.rms_norm_eps = std::numeric_limits<double>::quiet_NaN(); }},
      {"hc_eps is 1e+300, expected a finite number", [](ModelConfig& c) { c.hc_eps = 1e300; }},
      {"rope_theta is inf", [](ModelConfig& c) { c.rope_theta = HUGE_VAL; }},
      {"swiglu_limit is -1", [](ModelConfig& c) { c.swiglu_limit = -1; }},
      {"rope_scaling.factor is 0", [](ModelConfig& c) { c.rope_scaling.factor = 0; }},
      {"original_max_position_embeddings is 0",
       [](ModelConfig& c) { c.rope_scaling.original_max_position_embeddings = 0; }},
  };
  for (const auto& entry : cases) EXPECT_THAT(refusal(entry.change), HasSubstr(entry.part));
}

TEST(Config, RefusesOtherArchitectures) {
  EXPECT_THAT(json_refusal([](json& c) { c["architectures"] = {"LlamaForCausalLM"}; }),
              AllOf(HasSubstr("config.json: architectures is [\"LlamaForCausalLM\"]"),
                    HasSubstr("expected [\"DeepseekV4ForCausalLM\"]")));
  EXPECT_THAT(json_refusal([](json& c) { c["scoring_func"] = "sigmoid"; }),
              HasSubstr("expected \"sqrtsoftplus\""));
  EXPECT_THAT(json_refusal([](json& c) { c["num_key_value_heads"] = 2; }), HasSubstr("expected 1"));
  EXPECT_THAT(json_refusal([](json& c) { c["rope_scaling"]["type"] = "linear"; }),
              HasSubstr("rope_scaling: type is \"linear\", expected \"yarn\""));
}

TEST(Config, RefusesMissingAndMistypedFields) {
  EXPECT_THAT(json_refusal([](json& c) { c.erase("head_dim"); }), HasSubstr("head_dim is missing"));
  EXPECT_THAT(json_refusal([](json& c) { c["head_dim"] = "256"; }),
              HasSubstr("head_dim is \"256\", expected an integer"));
  EXPECT_THAT(json_refusal([](json& c) { c["head_dim"] = 256.5; }), HasSubstr("an integer"));
  EXPECT_THAT(json_refusal([](json& c) { c["head_dim"] = 1LL << 40; }), HasSubstr("below 2^31"));
  EXPECT_THAT(json_refusal([](json& c) { c["vocab_size"] = ~std::uint64_t{0}; }),
              HasSubstr("expected an integer"));
  EXPECT_THAT(json_refusal([](json& c) { c["compress_ratios"] = 4; }),
              HasSubstr("expected a list of integers"));
}

TEST(Config, TheFamilyFollowsTheDsparkKeys) {
  const auto add_keys = [](json& c) {
    c["dspark_block_size"] = 5;
    c["dspark_markov_rank"] = 256;
    c["dspark_target_layer_ids"] = {1, 2, 3};
    c["dspark_noise_token_id"] = 7;
    c["compress_ratios"] = {0, 0, 4, 128, 4, 0, 0, 0};
  };
  ModelCopy model("gb/hf");
  model.edit_json("config.json", add_keys);
  const ModelConfig config = read_config_json(model.path() / "config.json");
  EXPECT_EQ(config.family, Family::v0731);
  EXPECT_EQ(config.num_nextn_predict_layers, 0);
  EXPECT_THAT(config.compress_ratios, ElementsAre(0, 0, 4, 128, 4));

  EXPECT_THAT(json_refusal([](json& c) { c["dspark_block_size"] = 5; }),
              HasSubstr("1 of the 4 dspark_* keys are there, expected none"));
}

TEST(Config, RefusesOtherGgufArchitectures) {
  const ModelCopy model("ga/ga.f32.gguf");
  const auto bytes = read_bytes(model.path());
  const std::string text(bytes.begin(), bytes.end());
  patch(model.path(), static_cast<std::int64_t>(text.find("deepseek4")), "deepseek3");
  EXPECT_THAT(load_error(model.path()),
              HasSubstr("general.architecture is deepseek3, expected deepseek4"));
}

}  // namespace
}  // namespace fathom::engine
