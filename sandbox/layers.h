// Explains the layers of the sandbox to people.
#pragma once

#include <string>
#include <vector>

#include "sandbox/run.h"

namespace fathom::sandbox {

// From what a call reported when it started.
std::vector<Layer> describe_layers(const std::vector<std::string>& reported);

// From the layer that could not be built: those before it work, those after were not reached.
std::vector<Layer> describe_failure(const std::string& layer, const std::string& why);

}  // namespace fathom::sandbox
