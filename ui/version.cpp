// Which build this is: the numbers come from the build system.
#include "ui/version.h"

namespace fathom::ui {

std::string_view version() noexcept {
  return FATHOM_VERSION;
}

}  // namespace fathom::ui
