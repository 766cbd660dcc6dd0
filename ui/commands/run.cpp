// `fathom run`.
#include "ui/commands/run.h"

#include <stdexcept>

namespace fathom::ui {

int run(const RunOptions&) {
  throw std::runtime_error("run is not part of this build");
}

}  // namespace fathom::ui
