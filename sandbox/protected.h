// The names in a workspace that run code later with the user's rights, so nobody may plant them.
#pragma once

#include <array>
#include <string_view>

namespace fathom::sandbox {

// Folders and files that editors, shells and agents obey, wherever they lie.
inline constexpr std::array<const char*, 6> kObeyedNames = {".fathom", ".claude", ".codex",
                                                            ".vscode", ".idea",   ".envrc"};

// What inside a git directory decides which programs git runs. "commondir" names another folder
// whose hooks and config git then obeys instead.
inline constexpr std::array<const char*, 4> kGitNames = {"hooks", "config", "config.worktree",
                                                         "commondir"};

// True for one of the obeyed names, without regard to case.
bool is_obeyed(std::string_view name) noexcept;

// True if a file tool must not write `path` (relative, normalised, without symlinks): an obeyed
// name in any folder, and all of .git, whose upkeep is git's own.
bool is_protected(std::string_view path) noexcept;

}  // namespace fathom::sandbox
