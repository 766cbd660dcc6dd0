// Flags of commands that compute logits by hand, as the engine's options.
#pragma once

#include <string_view>

#include "engine/engine.h"
#include "ui/commands/run.h"

namespace fathom::ui {

// `rounding` and `activations` are what --kv and --activations accept.
inline engine::EngineOptions engine_options(const ModelOptions& model, std::string_view rounding,
                                            std::string_view activations) {
  engine::EngineOptions options{.kernels = model.kernels, .threads = model.threads};
  options.rounding = rounding == "f16"        ? engine::Rounding::f16
                     : rounding == "official" ? engine::Rounding::official
                                              : engine::Rounding::exact;
  options.activations =
      activations == "f32" ? engine::Activations::f32 : engine::Activations::native;
  return options;
}

}  // namespace fathom::ui
