// `fathom model`: what is in a model's files, whether they are whole, and another format of them.
#pragma once

#include <cstdint>
#include <string>

namespace fathom::ui {

struct ModelFileOptions {
  std::string action;                // info, check
  std::string path;                  // empty: the embedded model
  std::int64_t context = 0;          // tokens to plan memory for; 0: the model's maximum
  std::uint64_t weights_memory = 0;  // to plan with; 0: all weights are mapped
  bool json = false;
};

// Returns 0, or 9 when the files are damaged, missing or not supported.
int model(const ModelFileOptions& options);

struct ConvertModelOptions {
  std::string source;
  std::string target;
  std::string type;         // of the routed experts; empty: as they are
  std::string projections;  // of attention and shared experts; empty: as they are
  int threads = 0;
  bool force = false;
  bool json = false;
};

// Returns 0, or 128 + signal when stopped. Throws engine::Error.
int convert_model(const ConvertModelOptions& options);

}  // namespace fathom::ui
