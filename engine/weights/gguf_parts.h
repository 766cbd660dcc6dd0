// A model that GGUF keeps in one file or in several: NAME-00001-of-00003.gguf and so on.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/weights/gguf.h"

namespace fathom::engine {

// What the name of a part says.
struct PartName {
  std::filesystem::path stem;  // folder and NAME
  int number = 0;              // from 1
  int count = 0;

  std::filesystem::path part(int other) const;
};

// Nothing if the name is not that of a part.
std::optional<PartName> part_name(const std::filesystem::path& path);

// The file that holds a model's metadata: `path` itself or, of a part, the first one.
std::filesystem::path first_part(const std::filesystem::path& path);

// All files of the model that `path` is, or is any part of, the first with the metadata. Throws
// Error that names the file if a part is missing, belongs elsewhere, or if they hold other tensors
// than announced.
std::vector<std::unique_ptr<const Gguf>> open_gguf(const std::filesystem::path& path);

// The file to open in a folder that holds one model. Throws Error if it holds none or several.
std::filesystem::path find_gguf(const std::filesystem::path& folder);

}  // namespace fathom::engine
