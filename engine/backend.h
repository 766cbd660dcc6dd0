// Backend: the operations a transformer block needs, on batches of rows, and their contracts.
//
// The promise behind all of them: a row's result depends on that row's inputs alone, to the bit.
// The rows beside it in the batch, the number of threads and how work is split never show, because
// every sum has one order: dot products ascend by column in lanes of one width, attention walks its
// rows by ascending position in blocks, and where they are many in pieces, counted from the query's
// first row. Chunked prefill, decode, restored and forked sessions agree for that reason.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "engine/cache/rows.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

// Row-major views; rows are `stride` floats apart.
struct Matrix {
  float* values = nullptr;
  int rows = 0;
  int width = 0;
  std::int64_t stride = 0;

  float* row(int r) const noexcept { return values + r * stride; }
  Matrix slice(int first, int count) const noexcept { return {row(first), count, width, stride}; }
  Matrix columns(int begin, int count) const noexcept {
    return {values + begin, rows, count, stride};
  }
};

struct ConstMatrix {
  const float* values = nullptr;
  int rows = 0;
  int width = 0;
  std::int64_t stride = 0;

  ConstMatrix() = default;
  ConstMatrix(const float* v, int r, int w, std::int64_t s)
      : values(v), rows(r), width(w), stride(s) {}
  ConstMatrix(const Matrix& m)  // NOLINT(google-explicit-constructor): a view of the same rows
      : ConstMatrix(m.values, m.rows, m.width, m.stride) {}

  const float* row(int r) const noexcept { return values + r * stride; }
  ConstMatrix slice(int first, int count) const noexcept {
    return {row(first), count, width, stride};
  }
  ConstMatrix columns(int begin, int count) const noexcept {
    return {values + begin, rows, count, stride};
  }
};

// y = x · W[first_row, first_row + y.width)ᵀ; x and y do not overlap.
struct Product {
  const Tensor* weights = nullptr;
  std::int64_t first_row = 0;
  ConstMatrix x;
  Matrix y;
};

// cos, sin of a rotary pair after one another, for every row: [rows, rope].
struct Rotation {
  const double* table = nullptr;
  int rope = 0;

  const double* row(int r) const noexcept { return table + static_cast<std::int64_t>(r) * rope; }
  Rotation from(int r) const noexcept { return {row(r), rope}; }
};

// Hyper-connections in front of a block (oracle: hc_pre), and the block's norm.
struct StreamMix {
  ConstMatrix streams;  // [rows, hc_mult · hidden_size]
  ConstMatrix control;  // [rows, (2 + hc_mult) · hc_mult]: streams · fnᵀ, not normalised
  const HyperWeights* weights = nullptr;
  std::span<const float> norm;  // [hidden_size]
  Matrix x;                     // [rows, hidden_size]: mixed and normalised
  Matrix post;                  // [rows, hc_mult]
  Matrix comb;                  // [rows, hc_mult · hc_mult], row = source stream
};

// The streams' mean in front of the head (oracle: hc_head), and the head's norm.
struct HeadMix {
  ConstMatrix streams;  // [rows, hc_mult · hidden_size]
  ConstMatrix control;  // [rows, hc_mult]
  const HcHead* weights = nullptr;
  std::span<const float> norm;
  Matrix x;  // [rows, hidden_size]
};

// One compressor's finished windows (oracle: comp_extend). Row j covers positions j·ratio … .
struct Pooling {
  int ratio = 0;
  int first_row = 0;  // rows [first_row, last_row) are computed
  int last_row = 0;
  int first_fresh = 0;  // positions before it lie in `slots`
  Slots slots;
  ConstMatrix values, gates;  // [fresh tokens, slots.width]
  std::span<const float> ape;
  std::span<const float> norm;
  Rotation rotation;      // by row - first_row
  bool hadamard = false;  // indexer keys
  RowTable out;
};

// Rows chosen for each query, ascending.
struct Selection {
  std::int32_t* rows = nullptr;  // [queries, stride]
  int* counts = nullptr;         // [queries]
  int stride = 0;

  Selection from(int query) const noexcept {
    return {rows + static_cast<std::int64_t>(query) * stride, counts + query, stride};
  }
};

// Lightning indexer (oracle: index_scores, select). Query i stands at first_position + i and sees
// (position + 1) / 4 keys. Chosen: all, or the index_topk best, the lower row on ties.
struct IndexQuery {
  ConstMatrix q;        // [queries, index_n_heads · index_head_dim]: rotated, rounded
  ConstMatrix weights;  // [queries, index_n_heads]: x · weights_projᵀ, not scaled
  RowTable keys;
  int first_position = 0;
  Selection chosen;
};

// Attention over window, compressed rows and sink in one softmax (oracle: attend), rotated back.
// Query i stands at first_position + i.
struct Attention {
  ConstMatrix q;  // [queries, num_attention_heads · head_dim]
  Matrix out;     // [queries, num_attention_heads · head_dim]
  std::span<const float> sinks;
  Rotation rotation;  // by query
  int first_position = 0;
  WindowRows window;
  int ratio = 0;  // 0: window alone
  RowTable rows;
  Selection selection;  // without rows: every visible compressed row
};

struct Route {
  int expert = 0;
  float weight = 0;
};

// Router (oracle: route). Either `bias` or `experts` is set.
struct Routing {
  ConstMatrix logits;               // [rows, n_routed_experts]
  std::span<const float> bias;      // [n_routed_experts]
  const Tensor* experts = nullptr;  // tid2eid
  std::span<const Token> tokens;    // [rows]
  std::span<Route> routes;          // [rows, num_experts_per_tok]
};

// Where the weights of routed experts come from if not all of them are in memory.
class ExpertSource {
 public:
  struct Arrival {
    int expert = 0;
    const ExpertWeights* weights = nullptr;
  };

  virtual ~ExpertSource() = default;

  // Some experts that are in memory, in any order, each once; waits for the first. They stay until
  // the next call. Empty: all were handed out, or it was given up and y is worth nothing, which the
  // owner of the source knows.
  virtual std::span<const Arrival> next() noexcept = 0;
};

// Mixture of experts (oracle: moe): y = Σ weight · expert(x), in the order of routes, + shared(x).
struct Mixture {
  ConstMatrix x;  // [rows, hidden_size]
  std::span<const Route> routes;
  const BlockWeights* weights = nullptr;
  ExpertSource* source = nullptr;  // null: the experts are those of `weights`
  Matrix y;                        // [rows, hidden_size]
};

// Operations that read what a session remembers take a task for each session in the batch, and
// split all of them over the threads together: eight sessions that decode are eight tasks of one
// row. The tasks of one call belong to the same layer.
//
// One pass at a time: the caller serialises. Memory that operations need besides their arguments is
// kept and grows to the largest batch: reserve() before a pass, so that nothing fails inside it.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const noexcept = 0;
  // Of the bits that the set of that name computes: results of another revision are not taken up.
  virtual int revision() const noexcept = 0;
  virtual int threads() const noexcept = 0;
  virtual std::int64_t bytes() const noexcept = 0;  // of scratch memory
  // For batches of `rows` tokens in a context of `tokens`. May throw std::bad_alloc.
  virtual void reserve(int rows, std::int64_t tokens) = 0;

  // Every stream of a row becomes the token's embedding. streams [tokens, hc_mult · hidden_size]
  virtual void embed(std::span<const Token> tokens, const Tensor& table,
                     Matrix streams) noexcept = 0;
  // Several products at once; y of one is not x of another.
  virtual void multiply(std::span<const Product> products) noexcept = 0;
  // y = x / rms(x) · weight; may be in place.
  virtual void normalise(ConstMatrix x, std::span<const float> weight, Matrix y) noexcept = 0;
  virtual void mix_streams(const StreamMix& mix) noexcept = 0;
  virtual void mix_head(const HeadMix& mix) noexcept = 0;
  // streams[b] = post[b] · y + Σ_a comb[a][b] · streams[a] (oracle: hc_post)
  virtual void expand_streams(Matrix streams, ConstMatrix y, ConstMatrix post,
                              ConstMatrix comb) noexcept = 0;
  // Query heads: each normalised without weight, then rotated. q [rows, heads · head_dim]
  virtual void finish_queries(Matrix q, Rotation rotation) noexcept = 0;
  // Indexer query heads: rotated, Hadamard, rounded as `keys` asks. q [rows, heads · head width]
  virtual void finish_index_queries(Matrix q, Rotation rotation, RowFormat keys) noexcept = 0;
  // kv rows: normalised, rotated, stored one after another. kv is overwritten.
  virtual void store_rows(Matrix kv, std::span<const float> norm, Rotation rotation,
                          const RowFormat& format, std::byte* stored) noexcept = 0;
  virtual void pool(std::span<const Pooling> poolings) noexcept = 0;
  virtual void select(std::span<const IndexQuery> queries) noexcept = 0;
  virtual void attend(std::span<const Attention> attentions) noexcept = 0;
  virtual void route(const Routing& routing) noexcept = 0;
  virtual void run_experts(const Mixture& mixture) noexcept = 0;
};

// `kernels`: a set of cpu/select.cpp or auto; `threads` 0: one per core.
// Throws Error if the machine lacks the set.
std::unique_ptr<Backend> make_backend(const ModelConfig& config, std::string_view kernels,
                                      Activations activations, int threads);

}  // namespace fathom::engine
