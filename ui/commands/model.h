// `fathom model`: what is in a model's files, and whether they are whole.
#pragma once

#include <cstdint>
#include <string>

namespace fathom::ui {

struct ModelFileOptions {
  std::string action;        // info, check
  std::string path;          // empty: the embedded model
  std::int64_t context = 0;  // tokens to plan memory for; 0: the model's maximum
  bool json = false;
};

// Returns 0, or 9 when the files are damaged, missing or not supported.
int model(const ModelFileOptions& options);

}  // namespace fathom::ui
