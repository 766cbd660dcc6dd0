// `fathom model`.
#include "ui/commands/model.h"

#include <stdexcept>

namespace fathom::ui {

int model(const ModelFileOptions&) {
  throw std::runtime_error("model is not part of this build");
}

}  // namespace fathom::ui
