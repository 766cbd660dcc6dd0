// `fathom sandbox`.
#include "ui/commands/sandbox.h"

#include <stdexcept>

namespace fathom::ui {

int sandbox(const SandboxOptions&) {
  throw std::runtime_error("sandbox is not part of this build");
}

}  // namespace fathom::ui
