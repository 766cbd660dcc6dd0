// The sets of kernels that EngineOptions::kernels may name.
#pragma once

#include <string>
#include <vector>

namespace fathom::engine {

// In order of preference, also those that this machine lacks; without auto.
std::vector<std::string> kernel_sets();

}  // namespace fathom::engine
