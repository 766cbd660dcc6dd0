// `fathom tool`.
#include "ui/commands/tool.h"

#include <stdexcept>

namespace fathom::ui {

int tool(const ToolOptions&) {
  throw std::runtime_error("tool is not part of this build");
}

}  // namespace fathom::ui
