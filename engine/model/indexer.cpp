// Lightning indexer: which compressed rows a query of a ratio-4 layer attends to (spec architecture
// 4.6; oracle: index_scores, select).
#include <algorithm>
#include <numeric>

#include "engine/model/parts.h"
#include "engine/model/soundness.h"

namespace fathom::engine {

namespace {

bool must_choose(const Pass& pass, const Sequence& sequence) noexcept {
  return sequence.end_position() / 4 > pass.config.index_topk;
}

// What every query of a sequence chooses that may keep all it sees.
void choose_all(const Sequence& sequence, const Selection& chosen) {
  for (int t = 0; t < sequence.rows; ++t) {
    std::int32_t* rows = chosen.rows + std::int64_t{t} * chosen.stride;
    chosen.counts[t] = (sequence.first_position() + t + 1) / 4;
    std::iota(rows, rows + chosen.counts[t], 0);
  }
}

}  // namespace

bool must_choose(const Pass& pass) noexcept {
  return std::ranges::any_of(pass.sequences,
                             [&](const Sequence& sequence) { return must_choose(pass, sequence); });
}

Selection choose_rows(Pass& pass, int layer) {
  const ModelConfig& config = pass.config;
  Workspace& space = pass.space;
  const Selection chosen{space.chosen.data(), space.chosen_counts.data(), config.index_topk};
  const Matrix q = pass.matrix(space.index_q, config.index_n_heads * config.index_head_dim);
  const Matrix weights = pass.matrix(space.index_weights, config.index_n_heads);
  Tasks<IndexQuery> queries;
  for (const Sequence& sequence : pass.sequences) {
    const Selection own = chosen.from(sequence.first_row);
    if (!must_choose(pass, sequence)) {
      choose_all(sequence, own);
      continue;
    }
    queries.add({.q = q.slice(sequence.first_row, sequence.rows),
                 .weights = weights.slice(sequence.first_row, sequence.rows),
                 .keys = sequence.cache->keys(layer),
                 .first_position = sequence.first_position(),
                 .chosen = own});
  }
  if (queries.all().empty()) return chosen;
  expect_sound_index_queries(pass, q);
  pass.backend.finish_index_queries(q, {space.long_angles.data(), config.qk_rope_head_dim},
                                    pass.shape().key);
  pass.backend.select(queries.all());
  return chosen;
}

}  // namespace fathom::engine
