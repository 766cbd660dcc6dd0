// `fathom debug render|parse|tokenize|detokenize`.
#include <stdexcept>

#include "ui/commands/debug.h"

namespace fathom::ui {

int debug_render(const std::string&) {
  throw std::runtime_error("not part of this build");
}
int debug_parse() {
  throw std::runtime_error("not part of this build");
}
int debug_tokenize(const std::string&) {
  throw std::runtime_error("not part of this build");
}
int debug_detokenize(const std::string&) {
  throw std::runtime_error("not part of this build");
}

}  // namespace fathom::ui
