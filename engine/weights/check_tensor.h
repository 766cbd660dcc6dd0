// Reads a stored tensor from front to back and looks for values no checkpoint should hold.
#pragma once

#include <optional>
#include <string>

#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

// A sentence about the first number that is not finite: NaN or infinity in a float, a NaN code of
// E4M3, a scale that is NaN (UE8M0 255) or infinite. Nothing if all are finite.
std::optional<std::string> check_tensor(const StoredTensor& tensor);

}  // namespace fathom::engine
