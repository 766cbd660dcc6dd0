// The memory that one forward pass works in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/backend.h"
#include "engine/config.h"

namespace fathom::engine {

// Row-major buffers for a chunk of tokens; grows, never shrinks. Contents belong to the running
// pass. Names are those of spec architecture.
class Workspace {
 public:
  explicit Workspace(const ModelConfig& config) : config_(config) {}

  // For chunks of `rows` tokens. May throw std::bad_alloc.
  void reserve(int rows, std::int64_t row_bytes);
  std::int64_t bytes() const noexcept;

  Matrix matrix(std::vector<float>& buffer, int rows, int width) const noexcept {
    return {buffer.data(), rows, width, width};
  }

  std::vector<float> streams;                     // [rows, hc_mult · hidden_size]
  std::vector<float> control, post, comb;         // hyper-connections
  std::vector<float> x, y;                        // a part's input and output [rows, hidden_size]
  std::vector<float> qr, q, kv, heads, groups;    // attention
  std::vector<float> values, gates;               // compressor
  std::vector<float> index_values, index_gates;   // the indexer's compressor
  std::vector<float> index_q, index_weights;      // indexer
  std::vector<float> router;                      // [rows, n_routed_experts]
  std::vector<Route> routes, guesses;             // [rows, num_experts_per_tok]
  std::vector<std::int32_t> chosen;               // [rows, index_topk]
  std::vector<int> chosen_counts;                 // [rows]
  std::vector<double> plain_angles, long_angles;  // [rows, rope] for ratio 0; for ratio 4 and 128
  std::vector<double> row_angles;                 // [rows, rope] of compressed rows
  std::vector<std::byte> fresh;                   // window rows of the chunk
  std::vector<float> logits;                      // [kLogitRows, vocab_size]

  // Logits of a chunk are computed and handed out a few rows at a time: 128 rows of the official
  // vocabulary would take 66 MB.
  static constexpr int kLogitRows = 16;

 private:
  ModelConfig config_;
  int rows_ = 0;
};

}  // namespace fathom::engine
