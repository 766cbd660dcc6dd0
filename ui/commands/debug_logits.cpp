// `fathom debug logits`.
#include <stdexcept>

#include "ui/commands/debug.h"

namespace fathom::ui {

int debug_logits(const DebugLogitsOptions&) {
  throw std::runtime_error("debug logits is not part of this build");
}

}  // namespace fathom::ui
