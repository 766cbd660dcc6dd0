// Router: the experts of each token, by score or by the token's id (spec architecture 5; oracle:
// route).
#include "engine/model/parts.h"

namespace fathom::engine {

void choose_experts(Pass& pass, const BlockWeights& weights, std::span<Route> routes) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const Matrix logits = pass.matrix(space.router, config.n_routed_experts);
  const Product product{
      .weights = &weights.gate, .x = pass.matrix(space.x, config.hidden_size), .y = logits};
  pass.backend.multiply({&product, 1});
  pass.backend.route({.logits = logits,
                      .bias = weights.gate_bias,
                      .experts = weights.tid2eid ? &*weights.tid2eid : nullptr,
                      .tokens = pass.tokens,
                      .routes = routes});
}

}  // namespace fathom::engine
