// The failures of the engine: bad files, missing memory, unsupported machines.
#pragma once

#include <stdexcept>

namespace fathom::engine {

// Its text names the file, the tensor, what was found and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

}  // namespace fathom::engine
