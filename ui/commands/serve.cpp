// `fathom serve`.
#include "ui/commands/serve.h"

#include <stdexcept>

namespace fathom::ui {

int serve(const ServeOptions&) {
  throw std::runtime_error("serve is not part of this build");
}

}  // namespace fathom::ui
