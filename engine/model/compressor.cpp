// Compressor: every `ratio` tokens become one row (spec architecture 4.5; oracle: comp_extend).
#include <algorithm>

#include "engine/model/parts.h"

namespace fathom::engine {
namespace {

// Keeps the projections that windows after the chunk still need, each in the slot of its position.
void keep_slots(const Pass& pass, const Compression& compression) {
  const Slots& slots = compression.slots;
  const int end = pass.end_position();
  for (int p = std::max(pass.first_position(), end - slots.slots); p < end; ++p) {
    const std::int64_t slot = static_cast<std::int64_t>(p % slots.slots) * slots.width;
    const int t = p - pass.first_position();
    std::copy_n(compression.values.row(t), slots.width, slots.values + slot);
    std::copy_n(compression.gates.row(t), slots.width, slots.gates + slot);
  }
}

}  // namespace

void compress(Pass& pass, const Compression& compression) {
  const int ratio = compression.ratio;
  const int first = pass.first_position() / ratio;
  const int last = pass.end_position() / ratio;
  const int rope = pass.config.qk_rope_head_dim;
  for (int row = first; row < last; ++row) {  // a row stands at its window's first position
    pass.long_rope.fill(
        row * ratio, pass.space.row_angles.data() + static_cast<std::int64_t>(row - first) * rope);
  }
  if (last > first) {
    pass.backend.pool({.ratio = ratio,
                       .first_row = first,
                       .last_row = last,
                       .first_fresh = pass.first_position(),
                       .slots = compression.slots,
                       .values = compression.values,
                       .gates = compression.gates,
                       .ape = compression.weights.ape,
                       .norm = compression.weights.norm,
                       .rotation = {pass.space.row_angles.data(), rope},
                       .hadamard = compression.index_keys,
                       .out = compression.rows});
  }
  keep_slots(pass, compression);
}

}  // namespace fathom::engine
