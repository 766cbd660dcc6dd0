// The MTP block: from the trunk's streams at p and the token at p + 1 to logits of the token at
// p + 2 (spec architecture 6; oracle: mtp_input, mtp_extend).
#include <array>
#include <cassert>

#include "engine/model/forward.h"
#include "engine/model/parts.h"

namespace fathom::engine {
namespace {

// z[stream] = enorm(embedding) · e_projᵀ + hnorm(stream) · h_projᵀ
void mix_input(Pass& pass, const Tensor& embed, const MtpWeights& block, ConstMatrix streams) {
  Workspace& space = pass.space;
  const int n = pass.config.hc_mult;
  const int width = pass.config.hidden_size;
  const Matrix mixed = pass.matrix(space.streams, n * width);
  const Matrix x = pass.matrix(space.x, width);
  const Matrix y = pass.matrix(space.y, width);
  pass.backend.embed(pass.tokens, embed, mixed);
  pass.backend.normalise(mixed.columns(0, width), block.enorm, x);
  const Product from_token{.weights = &block.e_proj, .x = x, .y = y};
  pass.backend.multiply({&from_token, 1});
  for (int stream = 0; stream < n; ++stream) {
    pass.backend.normalise(streams.columns(stream * width, width), block.hnorm, x);
    const Product from_stream{
        .weights = &block.h_proj, .x = x, .y = mixed.columns(stream * width, width)};
    pass.backend.multiply({&from_stream, 1});
  }
  for (int t = 0; t < pass.rows(); ++t) {
    for (int i = 0; i < n * width; ++i) mixed.row(t)[i] += y.row(t)[i % width];
  }
}

}  // namespace

void mtp_forward(Pass& pass, const ModelWeights& weights, const MtpWeights& block,
                 ConstMatrix streams) {
  assert(streams.rows == pass.rows());
  fill_angles(pass);
  mix_input(pass, weights.embed, block, streams);
  run_block(pass, weights, block.block, {"MTP block", 0});
  remember_rows(pass);
}

Matrix mtp_head(Pass& pass, const ModelWeights& weights, const MtpWeights& block,
                ConstMatrix streams) {
  const Matrix x = pass.space.matrix(pass.space.x, streams.rows, pass.config.hidden_size);
  const Matrix logits = pass.space.matrix(pass.space.logits, streams.rows, pass.config.vocab_size);
  collapse_streams(pass, block.hc_head, block.norm, streams, x);
  const Product product{.weights = &weights.head, .x = x, .y = logits};
  pass.backend.multiply({&product, 1});
  return logits;
}

}  // namespace fathom::engine
