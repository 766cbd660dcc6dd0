// Sizes of the buffers of a forward pass.
#include "engine/model/workspace.h"

namespace fathom::engine {

void Workspace::reserve(int rows, std::int64_t row_bytes) {
  if (rows <= rows_) return;
  const ModelConfig& c = config_;
  const auto size = [&](auto& buffer, int width) {
    buffer.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(width));
  };
  size(streams, c.hc_mult * c.hidden_size);
  size(control, (2 + c.hc_mult) * c.hc_mult);
  size(post, c.hc_mult);
  size(comb, c.hc_mult * c.hc_mult);
  size(x, c.hidden_size);
  size(y, c.hidden_size);
  size(qr, c.q_lora_rank);
  size(q, c.num_attention_heads * c.head_dim);
  size(kv, c.head_dim);
  size(heads, c.num_attention_heads * c.head_dim);
  size(groups, c.o_groups * c.o_lora_rank);
  size(values, 2 * c.head_dim);
  size(gates, 2 * c.head_dim);
  size(index_values, 2 * c.index_head_dim);
  size(index_gates, 2 * c.index_head_dim);
  size(index_q, c.index_n_heads * c.index_head_dim);
  size(index_weights, c.index_n_heads);
  size(router, c.n_routed_experts);
  size(plain_angles, c.qk_rope_head_dim);
  size(long_angles, c.qk_rope_head_dim);
  size(row_angles, c.qk_rope_head_dim);
  const auto count = static_cast<std::size_t>(rows);
  for (auto* buffer : {&routes, &guesses}) {
    buffer->resize(count * static_cast<std::size_t>(c.num_experts_per_tok));
  }
  chosen.resize(count * static_cast<std::size_t>(c.index_topk));
  chosen_counts.resize(count);
  fresh.resize(count * static_cast<std::size_t>(row_bytes));
  logits.resize(static_cast<std::size_t>(kLogitRows) * static_cast<std::size_t>(c.vocab_size));
  rows_ = rows;
}

std::int64_t Workspace::bytes() const noexcept {
  std::size_t floats = 0;
  for (const auto* buffer :
       {&streams, &control, &post, &comb, &x, &y, &qr, &q, &kv, &heads, &groups, &values, &gates,
        &index_values, &index_gates, &index_q, &index_weights, &router, &logits}) {
    floats += buffer->capacity();
  }
  const std::size_t doubles =
      plain_angles.capacity() + long_angles.capacity() + row_angles.capacity();
  return static_cast<std::int64_t>(floats * sizeof(float) + doubles * sizeof(double) +
                                   (routes.capacity() + guesses.capacity()) * sizeof(Route) +
                                   chosen.capacity() * sizeof(std::int32_t) +
                                   chosen_counts.capacity() * sizeof(int) + fresh.capacity());
}

}  // namespace fathom::engine
