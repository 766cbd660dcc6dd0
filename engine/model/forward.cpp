// The model as a list of steps (spec architecture 2; oracle: extend).
#include "engine/model/forward.h"

#include <cassert>

#include "engine/model/parts.h"

namespace fathom::engine {

void fill_angles(Pass& pass) {
  const int rope = pass.config.qk_rope_head_dim;
  for (const Sequence& sequence : pass.sequences) {
    for (int t = 0; t < sequence.rows; ++t) {
      const std::int64_t row = static_cast<std::int64_t>(sequence.first_row + t) * rope;
      pass.plain_rope.fill(sequence.first_position() + t, pass.space.plain_angles.data() + row);
      pass.long_rope.fill(sequence.first_position() + t, pass.space.long_angles.data() + row);
    }
  }
}

void remember_rows(Pass& pass) {
  for (const Sequence& sequence : pass.sequences) {
    sequence.cache->set_length(sequence.end_position());
  }
}

void run_block(Pass& pass, const BlockWeights& weights, int layer) {
  enter_part(pass, weights.hc_attn, weights.attn_norm);
  attention(pass, weights, layer);
  leave_part(pass);
  enter_part(pass, weights.hc_ffn, weights.ffn_norm);
  mixture_of_experts(pass, weights);
  leave_part(pass);
}

bool forward(Pass& pass, const ModelWeights& weights, const KeepGoing& keep_going) {
  const auto layers = static_cast<int>(weights.layers.size());
  fill_angles(pass);
  pass.backend.embed(
      pass.tokens, weights.embed,
      pass.matrix(pass.space.streams, pass.config.hc_mult * pass.config.hidden_size));
  for (int layer = 0; layer < layers; ++layer) {
    run_block(pass, weights.layers[static_cast<std::size_t>(layer)], layer);
    if (keep_going && !keep_going(layer + 1, layers)) return false;
  }
  remember_rows(pass);
  return true;
}

Matrix head(Pass& pass, const ModelWeights& weights, ConstMatrix streams) {
  assert(streams.rows <= Workspace::kLogitRows);
  const Matrix x = pass.space.matrix(pass.space.x, streams.rows, pass.config.hidden_size);
  const Matrix logits = pass.space.matrix(pass.space.logits, streams.rows, pass.config.vocab_size);
  collapse_streams(pass, weights.hc_head, weights.norm, streams, x);
  const Product product{.weights = &weights.head, .x = x, .y = logits};
  pass.backend.multiply({&product, 1});
  return logits;
}

}  // namespace fathom::engine
