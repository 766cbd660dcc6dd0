// What git must know to commit, taken from the user's settings and nothing more of them.
#pragma once

#include <filesystem>
#include <string>

namespace fathom::sandbox {

// Text of a .gitconfig with user.name and user.email; made up from USER where `home` has none.
std::string git_settings(const std::filesystem::path& home);

}  // namespace fathom::sandbox
