// A control group of a call's own, where this machine lets us make one.
#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

namespace fathom::sandbox {

// One controller ("memory" or "pids"), in version 1 or 2. Removed by the destructor.
class Cgroup {
 public:
  // Tries; is_there() says whether it worked. Never throws for a machine that has none.
  Cgroup(const char* controller, std::int64_t limit);
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  bool is_there() const noexcept { return !folder_.empty(); }
  bool add(pid_t process) const;

  // True once the kernel has refused memory (and killed) or a process.
  bool exceeded() const;

 private:
  std::string folder_;        // empty: none
  std::string events_;        // file with counters
  const char* counter_ = "";  // the line that counts refusals
};

}  // namespace fathom::sandbox
