// Shares, waits and the choice of a frame.
#include "engine/offload/frame_table.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace fathom::engine {
namespace {

// Weights of one token in the means.
constexpr double kRecent = 1.0 / 16;
constexpr double kLasting = 1.0 / 512;

// Less tells nothing, and waits stay numbers.
constexpr double kChanceMin = 1e-6;

}  // namespace

FrameTable::FrameTable(int layers, int experts, int frames, double share)
    : layers_(layers),
      experts_(experts),
      frames_(at(frames)),
      by_expert_(at(layers) * at(experts), -1),
      shares_(at(layers) * at(experts), Share{share, share}) {
  assert(layers > 0 && experts > 0 && frames > 0);
}

void FrameTable::turn(int layer, std::span<const int> counts, int rows) noexcept {
  assert(std::ssize(counts) == experts_ && rows > 0);
  layer_ = layer;
  rows_ = rows;
  // As if the tokens had come one by one.
  const double recent = 1 - std::pow(1 - kRecent, rows);
  const double lasting = 1 - std::pow(1 - kLasting, rows);
  for (int expert = 0; expert < experts_; ++expert) {
    Share& share = shares_[index(layer, expert)];
    const double chosen = static_cast<double>(counts[at(expert)]) / rows;
    share.recent += recent * (chosen - share.recent);
    share.lasting += lasting * (chosen - share.lasting);
  }
}

double FrameTable::wait_if(int layer, double chance) const noexcept {
  const int turns = (layer - layer_ + layers_ - 1) % layers_ + 1;  // its own comes after all others
  return turns + (1 / std::max(chance, kChanceMin) - 1) * layers_;
}

double FrameTable::wait(int layer, int expert) const noexcept {
  const Share& share = shares_[index(layer, expert)];
  return wait_if(layer, 1 - std::pow(1 - (share.recent + share.lasting) / 2, rows_));
}

int FrameTable::choose(double wait_least) const noexcept {
  int best = -1;
  double longest = wait_least;
  for (int i = 0; i < frames(); ++i) {
    const Frame& frame = frames_[at(i)];
    if (frame.holds > 0) continue;
    if (frame.layer < 0) return i;
    const double frame_wait = wait(frame.layer, frame.expert);
    if (frame_wait > longest) {
      longest = frame_wait;
      best = i;
    }
  }
  return best;
}

void FrameTable::assign(int frame, int layer, int expert) noexcept {
  assert(!is_held(frame) && find(layer, expert) < 0);
  clear(frame);
  frames_[at(frame)] = {.layer = layer, .expert = expert};
  by_expert_[index(layer, expert)] = frame;
}

void FrameTable::clear(int frame) noexcept {
  assert(!is_held(frame));
  Frame& cleared = frames_[at(frame)];
  if (cleared.layer >= 0) by_expert_[index(cleared.layer, cleared.expert)] = -1;
  cleared = {};
}

}  // namespace fathom::engine
