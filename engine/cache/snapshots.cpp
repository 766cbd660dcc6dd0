// Keeps snapshots dense near the end and sparse far from it.
#include "engine/cache/snapshots.h"

#include <algorithm>

namespace fathom::engine {

void Snapshots::add(std::shared_ptr<const Snapshot> snapshot) {
  drop_after(snapshot->tokens - 1);
  moments_.push_back(std::move(snapshot));
  thin();
}

std::shared_ptr<const Snapshot> Snapshots::latest(int tokens) const noexcept {
  const auto after =
      std::ranges::find_if(moments_, [&](const auto& moment) { return moment->tokens > tokens; });
  return after == moments_.begin() ? nullptr : *std::prev(after);
}

bool Snapshots::has(int tokens) const noexcept {
  return std::ranges::any_of(moments_,
                             [&](const auto& moment) { return moment->tokens == tokens; });
}

void Snapshots::drop_after(int tokens) noexcept {
  std::erase_if(moments_, [&](const auto& moment) { return moment->tokens > tokens; });
}

std::int64_t Snapshots::bytes() const noexcept {
  std::int64_t total = 0;
  for (const auto& moment : moments_) {
    total += static_cast<std::int64_t>(moment->bytes.capacity());
  }
  return total;
}

void Snapshots::thin() {
  const int end = moments_.back()->tokens;
  for (std::size_t i = 1; i + 1 < moments_.size();) {
    const int before = moments_[i - 1]->tokens;
    const int gap = moments_[i + 1]->tokens - before;
    if (gap <= (end - before) / 2) {
      moments_.erase(moments_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
}

}  // namespace fathom::engine
