// The failures of agent.
#pragma once

#include <stdexcept>

namespace fathom::agent {

// Its text names the path or object, what was found and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

}  // namespace fathom::agent
