// Compressor: every `ratio` tokens become one row (spec architecture 4.5; oracle: comp_extend).
#include <algorithm>

#include "engine/model/parts.h"

namespace fathom::engine {
namespace {

// Keeps the projections that windows after the chunk still need, each in the slot of its position.
void keep_slots(const Sequence& sequence, const Compression& compression, const Slots& slots) {
  const int end = sequence.end_position();
  for (int p = std::max(sequence.first_position(), end - slots.slots); p < end; ++p) {
    const std::int64_t slot = static_cast<std::int64_t>(p % slots.slots) * slots.width;
    const int row = sequence.first_row + p - sequence.first_position();
    std::copy_n(compression.values.row(row), slots.width, slots.values + slot);
    std::copy_n(compression.gates.row(row), slots.width, slots.gates + slot);
  }
}

Slots slots_of(const Sequence& sequence, const Compression& compression) {
  return compression.index_keys ? sequence.cache->index_slots(compression.layer)
                                : sequence.cache->slots(compression.layer);
}

}  // namespace

void compress(Pass& pass, const Compression& compression) {
  const int ratio = pass.shape().layers[static_cast<std::size_t>(compression.layer)].ratio;
  const int rope = pass.config.qk_rope_head_dim;
  double* angles = pass.space.row_angles.data();
  Tasks<Pooling> finished;
  for (const Sequence& sequence : pass.sequences) {
    const int first = sequence.first_position() / ratio;
    const int last = sequence.end_position() / ratio;
    if (first == last) continue;
    const Rotation rotation{angles, rope};
    for (int row = first; row < last; ++row) {  // a row stands at its window's first position
      pass.long_rope.fill(row * ratio, angles);
      angles += rope;
    }
    finished.add({.ratio = ratio,
                  .first_row = first,
                  .last_row = last,
                  .first_fresh = sequence.first_position(),
                  .slots = slots_of(sequence, compression),
                  .values = compression.values.slice(sequence.first_row, sequence.rows),
                  .gates = compression.gates.slice(sequence.first_row, sequence.rows),
                  .ape = compression.weights.ape,
                  .norm = compression.weights.norm,
                  .rotation = rotation,
                  .hadamard = compression.index_keys,
                  .out = compression.index_keys ? sequence.cache->keys(compression.layer)
                                                : sequence.cache->rows(compression.layer)});
  }
  if (!finished.all().empty()) pass.backend.pool(finished.all());
  for (const Sequence& sequence : pass.sequences) {
    keep_slots(sequence, compression, slots_of(sequence, compression));
  }
}

}  // namespace fathom::engine
