// All weights of a model, bound by name and checked by shape; matrices stay in the mapped files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/config.h"
#include "engine/weights/tensor.h"

namespace fathom::engine {

class MappedFile;

// Names and shapes are those of spec architecture 8; matrices are [rows, columns] = [out, in].
struct ExpertWeights {
  Tensor w1, w3;  // gate, up  [moe_intermediate_size, hidden_size]
  Tensor w2;      // down      [hidden_size, moe_intermediate_size]
};

struct HyperWeights {
  std::vector<float> fn;    // [24, hc_mult · hidden_size]
  std::vector<float> base;  // [24]: pre, post, comb
  std::array<float, 3> scale{};
};

struct HcHead {
  std::vector<float> fn;    // [hc_mult, hc_mult · hidden_size]
  std::vector<float> base;  // [hc_mult]
  float scale = 0;
};

// c = 2 for ratio 4 and 1 for ratio 128; width = head_dim, or index_head_dim in the indexer.
struct CompressorWeights {
  Tensor wkv, wgate;        // [c · width, hidden_size]
  std::vector<float> ape;   // [ratio, c · width]
  std::vector<float> norm;  // [width]
};

struct IndexerWeights {
  Tensor wq_b;          // [index_n_heads · index_head_dim, q_lora_rank]
  Tensor weights_proj;  // [index_n_heads, hidden_size]
  CompressorWeights compressor;
};

struct BlockWeights {
  std::vector<float> attn_norm, ffn_norm;  // [hidden_size]
  std::vector<float> q_norm;               // [q_lora_rank]
  std::vector<float> kv_norm;              // [head_dim]
  std::vector<float> attn_sink;            // [num_attention_heads]
  HyperWeights hc_attn, hc_ffn;
  Tensor wq_a;  // [q_lora_rank, hidden_size]
  Tensor wq_b;  // [num_attention_heads · head_dim, q_lora_rank]
  Tensor wkv;   // [head_dim, hidden_size]
  Tensor wo_a;  // [o_groups · o_lora_rank, heads / groups · head_dim]
  Tensor wo_b;  // [hidden_size, o_groups · o_lora_rank]
  std::optional<CompressorWeights> compressor;  // ratio 4 and 128
  std::optional<IndexerWeights> indexer;        // ratio 4
  Tensor gate;                                  // [n_routed_experts, hidden_size]
  std::vector<float> gate_bias;                 // [n_routed_experts]; empty with tid2eid
  std::optional<Tensor> tid2eid;  // [vocab_size, num_experts_per_tok] i32 or i64, ids in range
  std::vector<ExpertWeights> experts;
  ExpertWeights shared;
};

struct MtpWeights {
  BlockWeights block;
  Tensor e_proj, h_proj;                  // [hidden_size, hidden_size]
  std::vector<float> enorm, hnorm, norm;  // [hidden_size]
  HcHead hc_head;
};

struct ModelWeights {
  ModelConfig config;  // num_nextn_predict_layers = mtp.size()
  Tensor embed, head;  // [vocab_size, hidden_size]
  std::vector<float> norm;
  HcHead hc_head;
  std::vector<BlockWeights> layers;
  std::vector<MtpWeights> mtp;  // empty when no file holds the block

  // What the tensors point into. A matrix that lies misaligned in its file is a copy.
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<std::shared_ptr<const std::byte[]>> copies;
};

// Called as tensors are bound, with bytes bound so far and bytes of all files.
using LoadProgress = std::function<void(std::int64_t bytes, std::int64_t total)>;

// `model`: a Hugging Face folder, a GGUF file or any part of one, or a folder with one GGUF model.
// `mtp`: a GGUF file that holds the MTP block; empty: as in the model's own files. Reads headers,
// vectors and hash tables; other matrices are read when used. Each file tells whether it is still
// what it was. Throws Error that names file, tensor, found and expected.
ModelWeights load_weights(const std::filesystem::path& model, const std::filesystem::path& mtp,
                          const LoadProgress& progress);

}  // namespace fathom::engine
