// `fathom bench`.
#include "ui/commands/bench.h"

#include <stdexcept>

namespace fathom::ui {

int bench(const BenchOptions&) {
  throw std::runtime_error("bench is not part of this build");
}

}  // namespace fathom::ui
