// Reads /proc/meminfo, and the limits of control groups from the process's own up to the root.
#include "engine/offload/available_memory.h"

#include <algorithm>
#include <exception>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

std::optional<std::int64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::int64_t number = 0;
  if (in >> number) return number;
  return std::nullopt;
}

// The number behind a word at the beginning of a line.
std::int64_t number_after(const fs::path& file, std::string_view word, std::int64_t otherwise) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(word)) continue;
    return std::strtoll(line.c_str() + word.size(), nullptr, 10);
  }
  return otherwise;
}

struct GroupFiles {
  const char* limit;
  const char* usage;
  // In memory.stat: pages of files, which the system takes away before it ends anybody.
  const char* inactive;
  const char* active;
};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                  "total_inactive_file ", "total_active_file "};
constexpr GroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file ", "active_file "};

std::int64_t left_in(const fs::path& group, const GroupFiles& names) {
  const auto limit = number_in(group / names.limit);  // "max" is no number
  const auto usage = number_in(group / names.usage);
  if (!limit || !usage) return kUnlimited;
  const fs::path stat = group / "memory.stat";
  return *limit - *usage + number_after(stat, names.inactive, 0) +
         number_after(stat, names.active, 0);
}

std::int64_t left_in_all(const fs::path& root, std::string_view path, const GroupFiles& names) {
  std::int64_t left = kUnlimited;
  for (fs::path group = fs::path(path).relative_path();; group = group.parent_path()) {
    left = std::min(left, left_in(root / group, names));
    if (group.empty()) return left;
  }
}

// Lines are "4:memory:/path" in version 1 and "0::/path" in version 2.
std::int64_t left_in_groups(const MemoryFiles& files) {
  std::int64_t left = kUnlimited;
  std::ifstream in(files.proc / "self" / "cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string_view path = std::string_view(line).substr(second + 1);
    if (controllers == ",,") {
      left = std::min(left, left_in_all(files.groups, path, kVersion2));
    } else if (controllers.find(",memory,") != std::string::npos) {
      left = std::min(left, left_in_all(files.groups / "memory", path, kVersion1));
    }
  }
  return left;
}

}  // namespace

std::int64_t available_memory(const MemoryFiles& files) noexcept {
  try {
    const std::int64_t kib = number_after(files.proc / "meminfo", "MemAvailable:", -1);
    return std::max<std::int64_t>(
        0, std::min(kib < 0 ? kUnlimited : kib * 1024, left_in_groups(files)));
  } catch (const std::exception&) {
    return kUnlimited;  // no memory to ask with: whoever asked next fails with a reason
  }
}

}  // namespace fathom::engine
