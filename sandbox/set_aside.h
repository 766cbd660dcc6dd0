// Takes away what a command planted under protected names that did not exist before.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sandbox/run.h"

namespace fathom::sandbox {

// Moves each of `absent` that now exists out of the workspace into a new folder below `state`
// (empty: the user's state directory). Throws Error if something planted cannot be moved away.
std::vector<SetAside> set_aside(const std::filesystem::path& workspace,
                                const std::vector<std::string>& absent,
                                const std::filesystem::path& state);

}  // namespace fathom::sandbox
