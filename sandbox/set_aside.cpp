// Runs after every process of the call is gone, so nobody races with it from inside.
#include "sandbox/set_aside.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "sandbox/beneath.h"
#include "sandbox/environment.h"
#include "sandbox/error.h"

namespace fathom::sandbox {
namespace {

using Path = std::filesystem::path;

Path state_folder(const Path& given) {
  if (!given.empty()) return given / "set-aside";
  const char* state = std::getenv("XDG_STATE_HOME");
  const Path base =
      state != nullptr && *state == '/' ? Path(state) : home_folder() / ".local/state";
  return base / "fathom" / "set-aside";
}

// A new folder that only the user can read.
Path fresh_folder(const Path& state) {
  std::error_code failed;
  const Path parent = state_folder(state);
  std::filesystem::create_directories(parent, failed);
  std::string name = (parent / "call-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw Error(fmt::format("{}: {}; expected a folder to set planted files aside in",
                            parent.string(), std::strerror(errno)));
  }
  return name;
}

// Renames without following a symlink; copies where that would cross file systems.
bool move_away(int parent, const std::string& name, const Path& kept) {
  if (::renameat(parent, name.c_str(), AT_FDCWD, kept.c_str()) == 0) return true;
  if (errno != EXDEV) return false;
  const Path source = fmt::format("/proc/self/fd/{}/{}", parent, name);
  std::error_code failed;
  using Options = std::filesystem::copy_options;
  std::filesystem::copy(source, kept, Options::recursive | Options::copy_symlinks, failed);
  std::filesystem::remove_all(source, failed);
  struct stat status {};
  return ::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0;
}

}  // namespace

std::vector<SetAside> set_aside(const Path& workspace, const std::vector<std::string>& absent,
                                const Path& state) {
  std::vector<SetAside> planted;
  const Descriptor root(::open(workspace.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  Path folder;
  // The names of one folder follow each other, so it is opened once.
  std::string opened;
  Descriptor parent = open_beneath(root.get(), opened, O_RDONLY | O_DIRECTORY);
  for (const std::string& path : absent) {
    const std::size_t slash = path.rfind('/');
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
    if (above != opened) parent = open_beneath(root.get(), above, O_RDONLY | O_DIRECTORY);
    opened = above;
    struct stat status {};
    if (!parent || ::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    if (folder.empty()) folder = fresh_folder(state);
    const Path kept = folder / fmt::format("{}-{}", planted.size() + 1, name);
    if (!move_away(parent.get(), name, kept)) {
      throw Error(
          fmt::format("{}: the command planted it and it cannot be set aside: {}; remove "
                      "it by hand",
                      (workspace / path).string(), std::strerror(errno)));
    }
    planted.push_back({.path = path, .kept = kept});
  }
  return planted;
}

}  // namespace fathom::sandbox
