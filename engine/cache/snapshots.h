// Moments of a session that it can return to.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/cache/kv_cache.h"

namespace fathom::engine {

// Ascending by tokens. Going back means restoring the latest moment before the wanted position and
// computing the rest again. The further back a moment, the wider the gaps: of n tokens about
// 2 · log2(n / 128) moments stay, and going back d tokens computes at most about d + 128.
class Snapshots {
 public:
  void add(std::shared_ptr<const Snapshot> snapshot);

  // The latest of at most `tokens` tokens; null if there is none.
  std::shared_ptr<const Snapshot> latest(int tokens) const noexcept;

  bool has(int tokens) const noexcept;
  void drop_after(int tokens) noexcept;
  std::int64_t bytes() const noexcept;

 private:
  void thin();

  std::vector<std::shared_ptr<const Snapshot>> moments_;
};

}  // namespace fathom::engine
