// How much memory this process may still take before the system ends it.
#pragma once

#include <cstdint>
#include <filesystem>

namespace fathom::engine {

// Where the system tells it; tests write their own.
struct MemoryFiles {
  std::filesystem::path proc = "/proc";
  std::filesystem::path groups = "/sys/fs/cgroup";
};

// Bytes that the machine has free or can free, and that the control groups of this process (v1 and
// v2, all levels) leave it, whichever is less. The greatest number if nothing can be read.
std::int64_t available_memory(const MemoryFiles& files = {}) noexcept;

}  // namespace fathom::engine
