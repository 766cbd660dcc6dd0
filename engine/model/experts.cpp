// Mixture of experts: the routed ones and the shared one (spec architecture 5; oracle: moe).
#include "engine/model/parts.h"

namespace fathom::engine {

void mixture_of_experts(Pass& pass, const BlockWeights& weights) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  choose_experts(pass, weights);
  const auto routes = static_cast<std::size_t>(pass.rows() * config.num_experts_per_tok);
  pass.backend.run_experts({.x = pass.matrix(space.x, config.hidden_size),
                            .routes = std::span(space.routes).first(routes),
                            .weights = &weights,
                            .y = pass.matrix(space.y, config.hidden_size)});
}

}  // namespace fathom::engine
