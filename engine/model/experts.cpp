// Mixture of experts: the routed ones and the shared one (spec architecture 5; oracle: moe).
#include "engine/model/parts.h"

namespace fathom::engine {

bool mixture_of_experts(Pass& pass, const BlockWeights& weights) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const auto routes =
      std::span(space.routes)
          .first(static_cast<std::size_t>(pass.rows() * config.num_experts_per_tok));
  choose_experts(pass, weights, routes);
  Mixture mixture{.x = pass.matrix(space.x, config.hidden_size),
                  .routes = routes,
                  .weights = &weights,
                  .y = pass.matrix(space.y, config.hidden_size)};
  if (pass.experts == nullptr) {
    pass.backend.run_experts(mixture);
    return true;
  }
  ExpertCache::Visit visit = pass.experts->visit(weights, routes, pass.rows(), pass.keep_waiting);
  expect_next(pass, weights);
  mixture.source = &visit;
  pass.backend.run_experts(mixture);
  return visit.finish();
}

}  // namespace fathom::engine
