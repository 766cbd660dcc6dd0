// The failure of a command line that says what cannot be done; main.cpp makes it exit code 2.
#pragma once

#include <stdexcept>

namespace fathom::ui {

// Its text names the flag, what was found and what was expected.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace fathom::ui
