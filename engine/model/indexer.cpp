// Lightning indexer: which compressed rows a query of a ratio-4 layer attends to (spec architecture
// 4.6; oracle: index_scores, select).
#include <numeric>

#include "engine/model/parts.h"

namespace fathom::engine {

bool must_choose(const Pass& pass) noexcept {
  return pass.end_position() / 4 > pass.config.index_topk;
}

Selection choose_rows(Pass& pass, int layer) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const Selection chosen{space.chosen.data(), space.chosen_counts.data(), config.index_topk};
  if (!must_choose(pass)) {
    for (int t = 0; t < pass.rows(); ++t) {
      chosen.counts[t] = (pass.first_position() + t + 1) / 4;
      std::iota(chosen.rows + std::int64_t{t} * chosen.stride,
                chosen.rows + std::int64_t{t} * chosen.stride + chosen.counts[t], 0);
    }
    return chosen;
  }
  const RowTable keys = pass.cache.keys(layer);
  const Matrix q = pass.matrix(space.index_q, config.index_n_heads * config.index_head_dim);
  pass.backend.finish_index_queries(q, {space.long_angles.data(), config.qk_rope_head_dim},
                                    keys.format);
  pass.backend.select({.q = q,
                       .weights = pass.matrix(space.index_weights, config.index_n_heads),
                       .keys = keys,
                       .first_position = pass.first_position(),
                       .chosen = chosen});
  return chosen;
}

}  // namespace fathom::engine
