// The access tokens' file: made on the first start, so that a page survives a restart.
#pragma once

#include <filesystem>

#include "ui/server.h"

namespace fathom::ui {

// $XDG_STATE_HOME/fathom/serve-tokens, else ~/.local/state/fathom/serve-tokens.
std::filesystem::path tokens_path();

// Reads the tokens, or makes them (0600, the folder 0700). `renew` replaces what is there.
// FATHOM_SERVE_TOKEN overrides the control token. Throws std::runtime_error that names the file.
Tokens load_tokens(const std::filesystem::path& file, bool renew);

}  // namespace fathom::ui
