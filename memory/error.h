// The failures of memory.
#pragma once

#include <stdexcept>

namespace fathom::memory {

// Its text names the path or object, what was found and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

}  // namespace fathom::memory
