// What a command may read, write and use, as plain data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace fathom::sandbox {

// What may be written besides the private HOME and /tmp: nothing, or the workspace.
enum class Profile { read_only, workspace_write };

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

// min(4 GiB, half of the machine's memory).
std::int64_t default_memory_bytes() noexcept;

struct Limits {
  std::int64_t memory_bytes = default_memory_bytes();  // sum over the call, with shared pages
  int processes = 512;                                 // processes and threads
  std::int64_t file_bytes = 8 * kGiB;                  // one file
  std::int64_t disk_bytes = 8 * kGiB;                  // growth of the workspace's file system
  std::int64_t output_bytes = 16 * kMiB;               // stdout and stderr together
  int open_files = 8192;                               // per process
  double seconds = 120;                                // wall time
};

struct Policy {
  Profile profile = Profile::workspace_write;
  std::filesystem::path workspace;  // appears at its own path
  std::vector<std::filesystem::path> read_roots;
  std::vector<std::filesystem::path> write_roots;
  Limits limits;
  // Added to the built environment. A name that could hold a secret or steer a loader is refused.
  std::map<std::string, std::string> environment;
  // Where names planted in the workspace are set aside; empty: below the user's state directory.
  std::filesystem::path state;
};

// The name the command line uses: "read-only" or "workspace-write".
const char* profile_name(Profile profile) noexcept;

// The policy as run() would apply it, every default filled in: one JSON object.
// Throws Error if the policy contradicts itself or names a folder that does not exist.
std::string policy_json(const Policy& policy);

}  // namespace fathom::sandbox
