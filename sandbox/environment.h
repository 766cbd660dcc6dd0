// The environment of a command: built from nothing, never the agent's own filtered.
#pragma once

#include <string>
#include <vector>

#include "sandbox/policy.h"

namespace fathom::sandbox {

// What HOME is for the user who runs the agent; a plain folder name is made up if there is none.
std::filesystem::path home_folder();

// NAME=value strings. PATH keeps the agent's order, but only folders below `visible`.
// Throws Error if the policy adds a name that could hold a secret or steer a loader.
std::vector<std::string> build_environment(const Policy& policy, const std::filesystem::path& home,
                                           const std::vector<std::filesystem::path>& visible);

}  // namespace fathom::sandbox
