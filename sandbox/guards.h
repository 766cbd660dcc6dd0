// Finds the protected names of a workspace: those to mount read-only, and those to look for after.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sandbox/linux/plan.h"

namespace fathom::sandbox {

struct GuardedNames {
  std::vector<Guard> present;
  std::vector<std::string> absent;  // if one exists after the call, the command planted it
};

// Looks at the workspace's own folder and at the folders near it, at most kFoldersMax.
GuardedNames find_guarded_names(const std::filesystem::path& workspace);

}  // namespace fathom::sandbox
