// What the agent tells the helper program, and its form on the wire: a sealed memory file, so
// that neither paths nor environment appear in a command line.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sandbox/policy.h"

namespace fathom::sandbox {

// A name in a folder of the policy that the command may not change.
struct Guard {
  std::string root = {};  // the workspace, or another of the policy's folders
  std::string path = {};  // relative to it, no symlink on the way
  // Pinned only (cannot be moved away or replaced) if false.
  bool read_only = true;
  // A socket of a host program: covered by one that nobody listens on.
  bool socket = false;
};

struct Plan {
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=value
  std::string directory;                 // where the command starts, absolute
  std::string workspace;
  std::string home;  // becomes a private, empty folder
  std::vector<std::string> read_roots;
  std::vector<std::string> write_roots;
  std::vector<std::string> toolchains;  // folders in HOME, shown read-only
  std::vector<std::string> masked;      // credential files below what is shown; covered
  std::vector<Guard> guards;
  std::string git_settings;  // written to HOME/.gitconfig: who commits
  Limits limits;
  bool writable = true;       // the workspace
  bool merge_streams = true;  // stdout and stderr in arrival order on descriptor 1
};

std::string encode(const Plan& plan);

// Empty if `bytes` is not what encode() wrote.
std::optional<Plan> decode(std::string_view bytes);

}  // namespace fathom::sandbox
