// Rotary positions: frequencies with YaRN, and tables of cosines and sines.
#pragma once

#include <span>
#include <vector>

#include "engine/config.h"

namespace fathom::engine {

// Constant after construction. Angles are computed in double: position · frequency reaches 10⁶,
// where a float's step is larger than what a logit forgives, and rotations are rounded once.
class Rope {
 public:
  // `compressed`: layers of ratio 4 and 128, which have their own base and YaRN.
  Rope(const ModelConfig& config, bool compressed);

  // cos, sin of every pair: row [qk_rope_head_dim]
  void fill(int position, double* row) const noexcept;

  std::span<const double> frequencies() const noexcept { return frequencies_; }

 private:
  std::vector<double> frequencies_;
};

}  // namespace fathom::engine
