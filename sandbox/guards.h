// Finds the protected names of a folder: those to mount read-only, and those to look for after.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <time.h>

#include "sandbox/linux/plan.h"

namespace fathom::sandbox {

// Of one folder of the policy.
struct GuardedNames {
  std::string root;
  std::vector<Guard> present;
  std::vector<std::string> absent;  // if one exists after the call, the command planted it
  timespec began = {};              // by the clock that times of files are from
  bool complete = true;             // false: there are folders that were not looked at
};

// Looks at the folder itself and at those below it from the top down, at most kFoldersMax in all.
GuardedNames find_guarded_names(const std::filesystem::path& folder);

// What may have been planted since, relative to the root: the absent names, and every obeyed name
// that was not there, for a command can make the folder around it too. An older one was there:
// where a command removes folders, others are looked at for the first time.
std::vector<std::string> planted_since(const GuardedNames& before);

}  // namespace fathom::sandbox
