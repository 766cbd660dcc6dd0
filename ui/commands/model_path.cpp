// Where the embedded model lies, in a build folder and when installed.
#include "ui/commands/model_path.h"

#include <cstdlib>
#include <system_error>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::ui {

std::filesystem::path find_model(const std::string& asked) {
  namespace fs = std::filesystem;
  if (!asked.empty()) return asked;
  const char* named = std::getenv("FATHOM_MODEL");
  if (named != nullptr && *named != '\0') return named;

  std::error_code failure;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failure).parent_path();
  const fs::path beside = folder / "share/fathom/models/pocket";
  const fs::path installed = folder.parent_path() / "share/fathom/models/pocket";
  for (const fs::path& model : {beside, installed}) {
    if (fs::exists(model, failure)) return model;
  }
  throw engine::Error(
      fmt::format("no model: FATHOM_MODEL is not set, and neither {} nor {} exists; name a GGUF "
                  "file or a Hugging Face folder",
                  beside.string(), installed.string()));
}

}  // namespace fathom::ui
