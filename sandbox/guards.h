// Finds the protected names of a folder: those to mount read-only, and those to look for after.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sandbox/linux/plan.h"

namespace fathom::sandbox {

// Of one folder of the policy.
struct GuardedNames {
  std::string root;
  std::vector<Guard> present;
  std::vector<std::string> absent;  // if one exists after the call, the command planted it
};

// Looks at the folder itself and at the folders near it, at most kFoldersMax.
GuardedNames find_guarded_names(const std::filesystem::path& folder);

// What may have been planted since, relative to the root: the absent names, and every obeyed name
// that was not there, for a command can make the folder around it too.
std::vector<std::string> planted_since(const GuardedNames& before);

}  // namespace fathom::sandbox
