// The caller's descriptor may be shared with other programs, so it is not switched to
// non-blocking: a pipe that poll() calls writable takes PIPE_BUF bytes at once, and no more are
// written.
#include "sandbox/linux/relay.h"

#include <algorithm>
#include <cerrno>
#include <climits>

#include <unistd.h>

namespace fathom::sandbox {

Relay Relay::from_pipe(Descriptor pipe, int to) {
  const int from = pipe.get();
  return Relay(from, to, std::move(pipe));
}

Relay Relay::to_pipe(int from, Descriptor pipe) {
  const int to = pipe.get();
  return Relay(from, to, std::move(pipe));
}

bool Relay::wants(pollfd& wanted) const noexcept {
  if (ended_) return false;
  const bool full = begin_ < end_;
  wanted = {full ? to_ : from_, static_cast<short>(full ? POLLOUT : POLLIN), 0};
  return true;
}

std::int64_t Relay::move(const pollfd& ready) noexcept {
  if (ended_ || ready.revents == 0) return 0;
  if (ready.fd == from_ && begin_ == end_) return fill();
  if (ready.fd == to_ && begin_ < end_) drain();
  return 0;
}

// Closes the pipe's end, which tells the command: end of input, or nobody reads any more.
void Relay::end() noexcept {
  ended_ = true;
  pipe_.reset();
}

std::int64_t Relay::fill() noexcept {
  const ssize_t got = ::read(from_, buffer_.data(), buffer_.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
  if (got <= 0) {
    end();
    return 0;
  }
  begin_ = 0;
  end_ = static_cast<std::size_t>(std::min<std::int64_t>(got, forward_max_));
  forward_max_ -= static_cast<std::int64_t>(end_);
  return got;
}

void Relay::drain() noexcept {
  const std::size_t part = std::min<std::size_t>(end_ - begin_, PIPE_BUF);
  const ssize_t wrote = ::write(to_, buffer_.data() + begin_, part);
  if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (wrote < 0) {
    end();
    return;
  }
  begin_ += static_cast<std::size_t>(wrote);
}

}  // namespace fathom::sandbox
