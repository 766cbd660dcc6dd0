// Flags of commands that load a model, as the engine's options.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "engine/engine.h"
#include "engine/offload.h"
#include "ui/commands/run.h"

namespace fathom::ui {

inline engine::EngineOptions engine_options(const ModelOptions& model) {
  engine::EngineOptions options{.kernels = model.kernels, .threads = model.threads};
  options.draft_tokens = model.draft;
  if (model.mtp == "off") {
    options.draft_tokens = 0;
  } else if (model.mtp != "auto") {
    options.mtp = model.mtp;
  }
  return options;
}

// With all weights mapped, or within the memory that --weights-memory names.
inline std::shared_ptr<const engine::Engine> load_engine(const std::filesystem::path& path,
                                                         const engine::EngineOptions& options,
                                                         const ModelOptions& model) {
  if (model.weights_memory == 0) return engine::Engine::load(path, options);
  return engine::load_offloaded(path, options, static_cast<std::int64_t>(model.weights_memory));
}

// `rounding` and `activations` are what --kv and --activations accept.
inline engine::EngineOptions engine_options(const ModelOptions& model, std::string_view rounding,
                                            std::string_view activations) {
  engine::EngineOptions options = engine_options(model);
  options.rounding = rounding == "f16"        ? engine::Rounding::f16
                     : rounding == "official" ? engine::Rounding::official
                                              : engine::Rounding::exact;
  options.activations =
      activations == "f32" ? engine::Activations::f32 : engine::Activations::native;
  return options;
}

}  // namespace fathom::ui
