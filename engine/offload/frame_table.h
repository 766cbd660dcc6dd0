// Which frames of memory hold which experts, and whose turn it is to make room.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace fathom::engine {

// The order of eviction is a guess at the optimal one (Belady: what is needed last goes first).
//
// Layers ask for experts in turn, over and over. An expert is asked for when its layer's turn comes
// and the router then chooses it, so it is expected to be needed in
//
//   wait = layers until its turn + (1 / chance − 1) · all layers
//
//   chance = 1 − (1 − share)^rows     that one of the next pass's tokens chooses it
//   share  = (recent + lasting) / 2   of its layer's tokens that chose it
//
// `recent` is a mean that forgets half within 11 tokens: what has just been used stays, as with
// least-recently-used. `lasting` forgets half within 355: what is used often stays. A decode of one
// token leaves the shares to decide. In a prefill every expert's chance is nearly 1 and the turn
// decides: the layers just computed make room, where plain recency would throw out, one after the
// other, the very experts that come next.
//
// Knows nothing of files and threads: its owner guards it.
class FrameTable {
 public:
  // `share`: of an expert that nothing is known about.
  FrameTable(int layers, int experts, int frames, double share);

  int frames() const noexcept { return static_cast<int>(frames_.size()); }

  // It is the turn of `layer`: counts [experts] of `rows` tokens chose each expert.
  void turn(int layer, std::span<const int> counts, int rows) noexcept;

  // The expert's frame; -1: it has none.
  int find(int layer, int expert) const noexcept { return by_expert_[index(layer, expert)]; }

  // How long until the expert is expected to be needed, in layers; `chance` if it is known better.
  double wait(int layer, int expert) const noexcept;
  double wait_if(int layer, double chance) const noexcept;

  // A frame to put an expert into: an empty one, else the one whose expert is needed last, if that
  // is later than `wait`. Held frames are not taken. -1: there is none.
  int choose(double wait) const noexcept;

  // The frame, which must not be held, holds this expert from now on, or nothing.
  void assign(int frame, int layer, int expert) noexcept;
  void clear(int frame) noexcept;

  // A held frame keeps its expert. Holds count.
  void hold(int frame) noexcept { ++frames_[at(frame)].holds; }
  void release(int frame) noexcept { --frames_[at(frame)].holds; }
  bool is_held(int frame) const noexcept { return frames_[at(frame)].holds > 0; }

 private:
  struct Frame {
    int layer = -1;  // -1: empty
    int expert = 0;
    int holds = 0;
  };
  struct Share {
    double recent = 0;
    double lasting = 0;
  };

  static std::size_t at(int i) noexcept { return static_cast<std::size_t>(i); }
  std::size_t index(int layer, int expert) const noexcept {
    return at(layer) * at(experts_) + at(expert);
  }

  int layers_ = 0;
  int experts_ = 0;
  int layer_ = 0;  // whose turn it is
  int rows_ = 1;   // of the latest turn
  std::vector<Frame> frames_;
  std::vector<int> by_expert_;  // [layers, experts]
  std::vector<Share> shares_;   // [layers, experts]
};

}  // namespace fathom::engine
