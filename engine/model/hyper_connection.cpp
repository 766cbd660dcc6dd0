// Manifold-constrained hyper-connections: the residual streams around every part (spec
// architecture 3; oracle: hc_pre, hc_post, hc_head).
#include "engine/model/parts.h"

namespace fathom::engine {

void enter_part(Pass& pass, const HyperWeights& weights, std::span<const float> norm) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const int n = config.hc_mult;
  const Matrix streams = pass.matrix(space.streams, n * config.hidden_size);
  const Matrix control = pass.matrix(space.control, (2 + n) * n);
  const Tensor fn = as_tensor(weights.fn, (2 + n) * n);
  const Product product{.weights = &fn, .x = streams, .y = control};
  pass.backend.multiply({&product, 1});
  pass.backend.mix_streams({.streams = streams,
                            .control = control,
                            .weights = &weights,
                            .norm = norm,
                            .x = pass.matrix(space.x, config.hidden_size),
                            .post = pass.matrix(space.post, n),
                            .comb = pass.matrix(space.comb, n * n)});
}

void leave_part(Pass& pass) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const int n = config.hc_mult;
  pass.backend.expand_streams(pass.matrix(space.streams, n * config.hidden_size),
                              pass.matrix(space.y, config.hidden_size), pass.matrix(space.post, n),
                              pass.matrix(space.comb, n * n));
}

void collapse_streams(Pass& pass, const HcHead& weights, std::span<const float> norm,
                      ConstMatrix streams, Matrix x) {
  const int n = pass.config.hc_mult;
  const Matrix control = pass.space.matrix(pass.space.control, streams.rows, n);
  const Tensor fn = as_tensor(weights.fn, n);
  const Product product{.weights = &fn, .x = streams, .y = control};
  pass.backend.multiply({&product, 1});
  pass.backend.mix_head(
      {.streams = streams, .control = control, .weights = &weights, .norm = norm, .x = x});
}

}  // namespace fathom::engine
