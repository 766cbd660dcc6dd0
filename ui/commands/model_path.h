// Finds the model to use when none is named.
#pragma once

#include <filesystem>
#include <string>

namespace fathom::ui {

// `asked`, else what FATHOM_MODEL names, else the embedded model: share/fathom/models/pocket beside
// the program or beside its folder. Throws engine::Error that lists what was tried.
std::filesystem::path find_model(const std::string& asked);

}  // namespace fathom::ui
