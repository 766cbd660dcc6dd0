// A stop that comes from outside or from the clock, whichever is first.
#include "agent/deadline.h"

#include <utility>

namespace fathom::agent {

Deadline::Deadline(double seconds, std::stop_token outer)
    : outer_(std::move(outer)), forward_(outer_, [this] { source_.request_stop(); }) {
  if (seconds <= 0) return;
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                       std::chrono::duration<double>(seconds));
  clock_ = std::jthread([this, end](std::stop_token over) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, over, end, [] { return false; });
    if (over.stop_requested()) return;
    time_is_up_ = !source_.stop_requested();
    lock.unlock();
    source_.request_stop();
  });
}

Deadline::~Deadline() = default;

bool Deadline::time_is_up() const noexcept {
  const std::lock_guard lock(mutex_);
  return time_is_up_;
}

}  // namespace fathom::agent
