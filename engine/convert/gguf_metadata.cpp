// Writes a configuration key by key, and a tokenizer.json as lists.
#include "engine/convert/gguf_metadata.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/text/loaders.h"
#include "engine/weights/gguf_types.h"
#include "engine/weights/json_file.h"

namespace fathom::engine {
namespace {

using nlohmann::json;

// What other programs show as the file's type: of most of its weights.
int file_type(StoredType type) noexcept {
  switch (type) {
    case StoredType::f32:
      return 0;
    case StoredType::f16:
      return 1;
    case StoredType::q4_0:
      return 2;
    case StoredType::q4_1:
      return 3;
    case StoredType::q8_0:
      return 7;
    case StoredType::q5_0:
      return 8;
    case StoredType::q5_1:
      return 9;
    case StoredType::q2_k:
      return 10;
    case StoredType::q3_k:
      return 12;
    case StoredType::q4_k:
      return 15;
    case StoredType::q5_k:
      return 17;
    case StoredType::q6_k:
      return 18;
    case StoredType::bf16:
      return 32;
    case StoredType::mxfp4:
      return 38;
    default:
      return 1024;  // guessed
  }
}

std::string full(std::string_view key) {
  return fmt::format("deepseek4.{}", key);
}

void describe_attention(GgufWriter& writer, const ModelConfig& c) {
  writer.count(full("attention.head_count"), c.num_attention_heads);
  writer.count(full("attention.head_count_kv"), 1);
  writer.count(full("attention.key_length"), c.head_dim);
  writer.count(full("attention.value_length"), c.head_dim);
  writer.number(full("attention.layer_norm_rms_epsilon"), c.rms_norm_eps);
  writer.count(full("attention.q_lora_rank"), c.q_lora_rank);
  writer.count(full("attention.output_lora_rank"), c.o_lora_rank);
  writer.count(full("attention.output_group_count"), c.o_groups);
  writer.count(full("attention.sliding_window"), c.sliding_window);
  writer.integers(full("attention.compress_ratios"), c.compress_ratios);
  writer.number(full("attention.compress_rope_freq_base"), c.compress_rope_theta);
  writer.count(full("attention.indexer.head_count"), c.index_n_heads);
  writer.count(full("attention.indexer.key_length"), c.index_head_dim);
  writer.count(full("attention.indexer.top_k"), c.index_topk);
  writer.count(full("rope.dimension_count"), c.qk_rope_head_dim);
  writer.number(full("rope.freq_base"), c.rope_theta);
  if (c.rope_scaling.factor == 1) return;
  writer.text(full("rope.scaling.type"), "yarn");
  writer.number(full("rope.scaling.factor"), c.rope_scaling.factor);
  writer.count(full("rope.scaling.original_context_length"),
               c.rope_scaling.original_max_position_embeddings);
  writer.number(full("rope.scaling.yarn_beta_fast"), c.rope_scaling.beta_fast);
  writer.number(full("rope.scaling.yarn_beta_slow"), c.rope_scaling.beta_slow);
}

void describe_experts(GgufWriter& writer, const ModelConfig& c, int blocks) {
  constexpr int kGatingSqrtSoftplus = 4;
  const auto each = [blocks](double limit) {
    return std::vector<double>(static_cast<std::size_t>(blocks), limit);
  };
  writer.count(full("expert_count"), c.n_routed_experts);
  writer.count(full("expert_used_count"), c.num_experts_per_tok);
  writer.count(full("expert_shared_count"), 1);
  writer.count(full("expert_feed_forward_length"), c.moe_intermediate_size);
  writer.count(full("expert_gating_func"), kGatingSqrtSoftplus);
  writer.number(full("expert_weights_scale"), c.routed_scaling_factor);
  writer.boolean(full("expert_weights_norm"), c.norm_topk_prob);
  writer.numbers(full("swiglu_clamp_exp"), each(c.swiglu_limit));
  writer.numbers(full("swiglu_clamp_shexp"), each(c.swiglu_limit_shared));
  writer.count(full("hash_layer_count"), c.num_hash_layers);
}

// How programs treat a token in text: as any other, as one that only a template may use, or as one
// that text may spell; ids without a token are unused.
enum TokenType : int { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

bool looks_like_markup(std::string_view text) {
  return text.starts_with("<｜") && text.ends_with("｜>");
}

struct TokenLists {
  std::vector<std::string> texts;
  std::vector<int> types;

  explicit TokenLists(int count)
      : texts(static_cast<std::size_t>(count)), types(texts.size(), kUnused) {
    // A filler of its own for every id: names must differ.
    for (std::size_t id = 0; id < texts.size(); ++id) texts[id] = fmt::format("[PAD{}]", id);
  }

  void set(const std::string& file, std::int64_t id, const std::string& text, int type) {
    if (id < 0 || id >= std::ssize(texts)) {
      throw Error(fmt::format("{}: token {} has id {}, expected 0 to {} as config.json says", file,
                              text, id, std::ssize(texts) - 1));
    }
    texts[static_cast<std::size_t>(id)] = text;
    types[static_cast<std::size_t>(id)] = type;
  }
};

// A pair is "left right" or, in newer files, ["left", "right"].
std::vector<std::string> merges_of(const json& model) {
  std::vector<std::string> merges;
  for (const json& merge : model.at("merges")) {
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
  }
  return merges;
}

// V4's prompts come from a chat encoder that begins them itself, so its configuration says no.
bool adds_bos(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) return false;
  const json config = read_object(path);
  const auto found = config.find("add_bos_token");
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

void describe_model(GgufWriter& writer, const ModelConfig& c, const FileDescription& file) {
  const int blocks = c.num_hidden_layers + (file.holds_mtp ? c.num_nextn_predict_layers : 0);
  writer.text("general.architecture", "deepseek4");
  writer.text("general.type", "model");
  writer.text("general.name", file.name);
  writer.count("general.file_type", file_type(file.experts));
  writer.count("general.quantization_version", 2);
  writer.count("general.alignment", kGgufAlignment);
  writer.text("fathom.family", family_name(c.family));
  writer.text("fathom.source_digest", file.source_digest);
  writer.count(full("vocab_size"), c.vocab_size);
  writer.count(full("context_length"), c.max_position_embeddings);
  writer.count(full("embedding_length"), c.hidden_size);
  writer.count(full("embedding_length_out"), std::int64_t{c.hc_mult} * c.hidden_size);
  writer.count(full("block_count"), blocks);
  if (file.holds_mtp) writer.count(full("nextn_predict_layers"), c.num_nextn_predict_layers);
  describe_attention(writer, c);
  describe_experts(writer, c, blocks);
  writer.count(full("hyper_connection.count"), c.hc_mult);
  writer.count(full("hyper_connection.sinkhorn_iterations"), c.hc_sinkhorn_iters);
  writer.number(full("hyper_connection.epsilon"), c.hc_eps);
}

void describe_tokenizer(GgufWriter& writer, const ModelConfig& config,
                        const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  const std::string file = path.string();
  load_tokenizer_json(path);  // refuses another kind of tokenizer, so the members below are there
  const json tokenizer = read_object(path);

  TokenLists tokens(config.vocab_size);
  for (const auto& [text, id] : tokenizer.at("model").at("vocab").items()) {
    tokens.set(file, id.get<std::int64_t>(), text, kNormal);
  }
  std::optional<std::int64_t> padding;
  for (const json& added : tokenizer.value("added_tokens", json::array())) {
    const auto id = added.at("id").get<std::int64_t>();
    const auto text = added.at("content").get<std::string>();
    const bool special = added.value("special", false);
    tokens.set(file, id, text, special || looks_like_markup(text) ? kControl : kUserDefined);
    const bool ends = id == config.bos_token_id || id == config.eos_token_id;
    if (special && !ends && !padding) padding = id;
  }

  writer.text("tokenizer.ggml.model", "gpt2");  // byte-level BPE
  writer.text("tokenizer.ggml.pre", "joyai-llm");
  writer.texts("tokenizer.ggml.tokens", tokens.texts);
  writer.integers("tokenizer.ggml.token_type", tokens.types);
  writer.texts("tokenizer.ggml.merges", merges_of(tokenizer.at("model")));
  writer.count("tokenizer.ggml.bos_token_id", config.bos_token_id);
  writer.count("tokenizer.ggml.eos_token_id", config.eos_token_id);
  if (padding) writer.count("tokenizer.ggml.padding_token_id", *padding);
  writer.boolean("tokenizer.ggml.add_bos_token", adds_bos(folder));
}

}  // namespace fathom::engine
