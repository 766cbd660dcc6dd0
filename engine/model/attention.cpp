// Attention of one layer: projections, window, compressed rows, grouped output (spec architecture
// 4; oracle: attention).
#include <algorithm>
#include <array>

#include "engine/limits.h"
#include "engine/model/parts.h"

namespace fathom::engine {
namespace {

constexpr int kGroupsMax = 32;
static_assert(kOutputGroupsMax <= kGroupsMax);

// Collects products of the same input, so that one operation runs them all.
struct Products {
  std::array<Product, kGroupsMax> list;
  std::size_t count = 0;

  void add(const Tensor& weights, ConstMatrix x, Matrix y) {
    list[count++] = {.weights = &weights, .x = x, .y = y};
  }
  std::span<const Product> all() const noexcept { return {list.data(), count}; }
};

Compression compression(Pass& pass, const BlockWeights& weights, int layer) {
  const int width = pass.sequences.front().cache->slots(layer).width;
  return {.weights = *weights.compressor,
          .layer = layer,
          .index_keys = false,
          .values = pass.matrix(pass.space.values, width),
          .gates = pass.matrix(pass.space.gates, width)};
}

Compression index_compression(Pass& pass, const BlockWeights& weights, int layer) {
  const int width = pass.sequences.front().cache->index_slots(layer).width;
  return {.weights = weights.indexer->compressor,
          .layer = layer,
          .index_keys = true,
          .values = pass.matrix(pass.space.index_values, width),
          .gates = pass.matrix(pass.space.index_gates, width)};
}

// Everything that reads x: queries' low rank, the row, compressors, indexer weights.
void project(Pass& pass, const BlockWeights& weights, int layer) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const Matrix x = pass.matrix(space.x, config.hidden_size);
  Products products;
  products.add(weights.wq_a, x, pass.matrix(space.qr, config.q_lora_rank));
  products.add(weights.wkv, x, pass.matrix(space.kv, config.head_dim));
  if (weights.compressor) {
    const int width = pass.sequences.front().cache->slots(layer).width;
    products.add(weights.compressor->wkv, x, pass.matrix(space.values, width));
    products.add(weights.compressor->wgate, x, pass.matrix(space.gates, width));
  }
  if (weights.indexer) {
    const int width = pass.sequences.front().cache->index_slots(layer).width;
    products.add(weights.indexer->compressor.wkv, x, pass.matrix(space.index_values, width));
    products.add(weights.indexer->compressor.wgate, x, pass.matrix(space.index_gates, width));
    if (must_choose(pass)) {
      products.add(weights.indexer->weights_proj, x,
                   pass.matrix(space.index_weights, config.index_n_heads));
    }
  }
  pass.backend.multiply(products.all());
}

// qr -> heads of q, and the indexer's.
void expand_queries(Pass& pass, const BlockWeights& weights) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const Matrix qr = pass.matrix(space.qr, config.q_lora_rank);
  pass.backend.normalise(qr, weights.q_norm, qr);
  Products products;
  products.add(weights.wq_b, qr,
               pass.matrix(space.q, config.num_attention_heads * config.head_dim));
  if (weights.indexer && must_choose(pass)) {
    products.add(weights.indexer->wq_b, qr,
                 pass.matrix(space.index_q, config.index_n_heads * config.index_head_dim));
  }
  pass.backend.multiply(products.all());
}

// heads -> y through groups of a low rank.
void project_out(Pass& pass, const BlockWeights& weights) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const int group_width = config.num_attention_heads / config.o_groups * config.head_dim;
  const int rank = config.o_lora_rank;
  const Matrix heads = pass.matrix(space.heads, config.num_attention_heads * config.head_dim);
  const Matrix groups = pass.matrix(space.groups, config.o_groups * rank);
  Products products;
  for (int group = 0; group < config.o_groups; ++group) {
    products.add(weights.wo_a, heads.columns(group * group_width, group_width),
                 groups.columns(group * rank, rank));
    products.list[products.count - 1].first_row = std::int64_t{group} * rank;
  }
  pass.backend.multiply(products.all());
  const Product out{
      .weights = &weights.wo_b, .x = groups, .y = pass.matrix(space.y, config.hidden_size)};
  pass.backend.multiply({&out, 1});
}

// The rows that a sequence's queries see: its own are the last of them.
WindowRows window_of(const Pass& pass, const Sequence& sequence, int layer) {
  std::byte* fresh = pass.space.fresh.data() + sequence.first_row * pass.shape().row.bytes;
  return sequence.cache->window(layer, fresh);
}

// Moves a sequence's last rows into the ring: the window of the tokens to come.
void keep_window(const WindowRows& window, int end) {
  const std::int64_t bytes = window.format.bytes;
  for (int p = std::max(window.first_fresh, end - window.window); p < end; ++p) {
    std::copy_n(window.row(p), bytes, window.ring + p % window.window * bytes);
  }
}

// Heads of every sequence's queries over its own rows.
void attend(Pass& pass, const BlockWeights& weights, int layer, Rotation rotation) {
  const int ratio = pass.shape().layers[static_cast<std::size_t>(layer)].ratio;
  const int width = pass.config.num_attention_heads * pass.config.head_dim;
  const Matrix q = pass.matrix(pass.space.q, width);
  const Matrix heads = pass.matrix(pass.space.heads, width);
  const Selection chosen = weights.indexer ? choose_rows(pass, layer) : Selection{};
  Tasks<Attention> attentions;
  for (const Sequence& sequence : pass.sequences) {
    attentions.add({.q = q.slice(sequence.first_row, sequence.rows),
                    .out = heads.slice(sequence.first_row, sequence.rows),
                    .sinks = weights.attn_sink,
                    .rotation = rotation.from(sequence.first_row),
                    .first_position = sequence.first_position(),
                    .window = window_of(pass, sequence, layer),
                    .ratio = ratio,
                    .rows = ratio == 0 ? RowTable{} : sequence.cache->rows(layer),
                    .selection = weights.indexer ? chosen.from(sequence.first_row) : Selection{}});
  }
  pass.backend.attend(attentions.all());
}

}  // namespace

void attention(Pass& pass, const BlockWeights& weights, int layer) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const CacheShape& shape = pass.shape();
  const int ratio = shape.layers[static_cast<std::size_t>(layer)].ratio;
  const Rotation rotation{ratio == 0 ? space.plain_angles.data() : space.long_angles.data(),
                          config.qk_rope_head_dim};

  project(pass, weights, layer);
  pass.backend.store_rows(pass.matrix(space.kv, config.head_dim), weights.kv_norm, rotation,
                          shape.row, space.fresh.data());
  expand_queries(pass, weights);
  pass.backend.finish_queries(pass.matrix(space.q, config.num_attention_heads * config.head_dim),
                              rotation);

  // Rows that this batch completes are visible to its own queries, so they come first.
  if (weights.compressor) compress(pass, compression(pass, weights, layer));
  if (weights.indexer) compress(pass, index_compression(pass, weights, layer));
  attend(pass, weights, layer, rotation);
  project_out(pass, weights);
  for (const Sequence& sequence : pass.sequences) {
    keep_window(window_of(pass, sequence, layer), sequence.end_position());
  }
}

}  // namespace fathom::engine
