// Frequencies and tables of RoPE (spec architecture 4.2; oracle: inv_freq, yarn).
#include "engine/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fathom::engine {

Rope::Rope(const ModelConfig& config, bool compressed) {
  const int rope = config.qk_rope_head_dim;
  const double base = compressed ? config.compress_rope_theta : config.rope_theta;
  const RopeScaling& scaling = config.rope_scaling;
  const bool yarn =
      compressed && scaling.factor > 1 && scaling.original_max_position_embeddings > 0;

  // The pair that turns `rotations` times over the original context.
  const auto pair_of = [&](double rotations) {
    const auto context = static_cast<double>(scaling.original_max_position_embeddings);
    return rope * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
  };
  const double low = yarn ? std::max(std::floor(pair_of(scaling.beta_fast)), 0.0) : 0;
  const double high = yarn ? std::min(std::ceil(pair_of(scaling.beta_slow)), rope - 1.0) : 0;
  for (int i = 0; i < rope / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * i / rope);
    const double ramp = std::clamp((i - low) / std::max(high - low, 0.001), 0.0, 1.0);
    frequencies_.push_back(yarn ? frequency / scaling.factor * ramp + frequency * (1 - ramp)
                                : frequency);
  }
}

void Rope::fill(int position, double* row) const noexcept {
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = position * frequencies_[i];
    row[2 * i] = std::cos(angle);
    row[2 * i + 1] = std::sin(angle);
  }
}

}  // namespace fathom::engine
