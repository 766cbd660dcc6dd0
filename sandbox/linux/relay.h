// Moves bytes from one descriptor to another without ever blocking on either.
#pragma once

#include <array>
#include <cstdint>

#include <poll.h>

#include "sandbox/descriptor.h"

namespace fathom::sandbox {

class Relay {
 public:
  // Owns the pipe's end; the other descriptor is the caller's.
  static Relay from_pipe(Descriptor pipe, int to);
  static Relay to_pipe(int from, Descriptor pipe);

  // What to wait for now. False once there is nothing left to move.
  bool wants(pollfd& wanted) const noexcept;

  // Moves what can be moved after poll() answered `ready`. Returns how many bytes were read.
  std::int64_t move(const pollfd& ready) noexcept;

  // Forwards at most `bytes` more and drops the rest.
  void limit(std::int64_t bytes) noexcept { forward_max_ = bytes; }

 private:
  Relay(int from, int to, Descriptor pipe) : from_(from), to_(to), pipe_(std::move(pipe)) {}
  void end() noexcept;
  std::int64_t fill() noexcept;
  void drain() noexcept;

  int from_;
  int to_;
  Descriptor pipe_;
  bool ended_ = false;
  std::int64_t forward_max_ = INT64_MAX;
  std::array<char, 65536> buffer_{};
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace fathom::sandbox
