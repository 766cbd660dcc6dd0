// The failures of tools.
#pragma once

#include <stdexcept>

#include "sandbox/error.h"

namespace fathom::tools {

// Its text names the path or object, what was found and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

// The sandbox cannot be had, so no call may run. The only failure that passes through Toolbox::run.
using NoSandbox = sandbox::Error;

}  // namespace fathom::tools
