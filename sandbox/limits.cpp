// The defaults that depend on the machine, and names the helper needs too.
#include <algorithm>

#include <unistd.h>

#include "sandbox/policy.h"

namespace fathom::sandbox {

std::int64_t default_memory_bytes() noexcept {
  const std::int64_t pages = ::sysconf(_SC_PHYS_PAGES);
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  return std::min(4 * kGiB, std::max<std::int64_t>(pages * page / 2, kMiB));
}

const char* profile_name(Profile profile) noexcept {
  return profile == Profile::read_only ? "read-only" : "workspace-write";
}

}  // namespace fathom::sandbox
