// The hyper-parameters of a DeepSeek-V4 model, field for field as in config.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::engine {

struct RopeScaling {  // YaRN; factor 1 means none
  double factor = 1;
  std::int64_t original_max_position_embeddings = 0;
  double beta_fast = 32;
  double beta_slow = 1;
};

// Which chat encoding the checkpoint was trained on (spec chat-encoding 4).
enum class Family { preview, v0731 };

struct ModelConfig {
  int vocab_size = 0;
  int hidden_size = 0;
  int num_hidden_layers = 0;
  int num_nextn_predict_layers = 0;  // MTP blocks
  int num_attention_heads = 0;
  int head_dim = 0;
  int qk_rope_head_dim = 0;
  int q_lora_rank = 0;
  int o_groups = 0;
  int o_lora_rank = 0;
  int sliding_window = 0;
  std::vector<int> compress_ratios;  // 0, 4 or 128; one per layer, then one per MTP block
  double rope_theta = 10000;
  double compress_rope_theta = 160000;
  RopeScaling rope_scaling;
  std::int64_t max_position_embeddings = 0;
  int index_n_heads = 0;
  int index_head_dim = 0;
  int index_topk = 0;
  int n_routed_experts = 0;
  int num_experts_per_tok = 0;
  int moe_intermediate_size = 0;
  int num_hash_layers = 0;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1;
  double swiglu_limit = 0;         // 0: no clamp
  double swiglu_limit_shared = 0;  // GGUF may tell it apart; otherwise equal
  int hc_mult = 0;
  int hc_sinkhorn_iters = 0;
  double hc_eps = 1e-6;
  double rms_norm_eps = 1e-6;
  int bos_token_id = 0;
  int eos_token_id = 1;
  Family family = Family::preview;
};

// Refuses what the forward pass cannot run: afterwards every extent is positive, every relation
// between fields that the code relies on holds, and products of extents fit. `source` names the
// file in messages. Throws Error that names the field, what was found and what is expected.
void validate(const ModelConfig& config, const std::string& source);

// Drops the entries of compress_ratios that belong to no block: checkpoints list those of drafters
// and of MTP blocks that are stored elsewhere.
void fit_ratios(ModelConfig& config);

std::string_view family_name(Family family) noexcept;

}  // namespace fathom::engine
