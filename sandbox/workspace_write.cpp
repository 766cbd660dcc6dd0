// Writing side of Workspace: replace and remove.
#include <array>
#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "sandbox/beneath.h"
#include "sandbox/protected.h"
#include "sandbox/workspace.h"

namespace fathom::sandbox {
namespace {

// The file is new, so nobody's: as root it goes to the owner of its folder, as a command inside
// the sandbox would have made it.
void adopt(int file, int parent) noexcept {
  struct stat folder {};
  if (::geteuid() != 0 || ::fstat(parent, &folder) != 0) return;
  if (folder.st_uid != 0 && ::fchown(file, folder.st_uid, folder.st_gid) != 0) return;
}

// Where an open folder really lies, all symlinks resolved: the kernel's own answer, so a protected
// folder is recognised however it was reached. Empty if it has none.
std::string place_of(int folder) {
  std::array<char, 4096> place{};
  const std::string link = fmt::format("/proc/self/fd/{}", folder);
  const ssize_t length = ::readlink(link.c_str(), place.data(), place.size());
  return length > 0 && length < std::ssize(place)
             ? std::string(place.data(), static_cast<std::size_t>(length))
             : std::string();
}

// The parent folder of a path to be changed, and the name in it.
struct Target {
  Descriptor parent;
  std::string name;
  std::string path;
};

class Resolver {
 public:
  Resolver(int folder, const std::filesystem::path& root) : folder_(folder), root_(root) {}

  // Opens the parent of `path`, checks that the place is not protected, and makes missing folders
  // if asked to.
  Result<Target> resolve(const std::string& path, bool make_folders) const {
    if (is_protected(path)) return guarded(path);
    const std::size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
    Target target{.parent = open_beneath(folder_, parent, O_RDONLY | O_DIRECTORY),
                  .name = slash == std::string::npos ? path : path.substr(slash + 1),
                  .path = path};
    if (!target.parent && errno == ENOENT && make_folders) {
      const Result<void> made = make(parent);
      if (!made) return tl::unexpected(made.error());
      target.parent = open_beneath(folder_, parent, O_RDONLY | O_DIRECTORY);
    }
    if (!target.parent) return tl::unexpected(refusal(errno, path));
    if (!is_allowed(target.parent.get(), target.name)) return guarded(path);
    return target;
  }

 private:
  static tl::unexpected<Refusal> guarded(const std::string& path) {
    return refuse(Refusal::Kind::protected_path,
                  fmt::format("{} is protected: what lies there runs later with the user's "
                              "rights.",
                              path));
  }

  bool is_allowed(int parent, const std::string& name) const {
    const std::string place = place_of(parent);
    const std::string& root = root_.native();
    if (place != root && !place.starts_with(root == "/" ? root : root + "/")) return false;
    const std::string below = place == root ? name : place.substr(root.size() + 1) + "/" + name;
    return !is_protected(below);
  }

  Result<void> make(const std::string& path) const {
    for (std::size_t end = 0; end < path.size();) {
      end = std::min(path.find('/', end + 1), path.size());
      const std::string folder = path.substr(0, end);
      if (open_beneath(folder_, folder, O_PATH | O_DIRECTORY)) continue;
      if (errno != ENOENT) return tl::unexpected(refusal(errno, folder));
      const Result<Target> target = resolve(folder, /*make_folders=*/false);
      if (!target) return tl::unexpected(target.error());
      if (::mkdirat(target->parent.get(), target->name.c_str(), 0777) != 0 && errno != EEXIST) {
        return tl::unexpected(refusal(errno, folder));
      }
      const Descriptor made(::openat(target->parent.get(), target->name.c_str(),
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (made) adopt(made.get(), target->parent.get());
    }
    return {};
  }

  int folder_;
  const std::filesystem::path& root_;
};

bool write_all(int file, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t wrote = ::write(file, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return ::fsync(file) == 0;
}

// A name nobody can guess, so nobody can lie in wait at it.
std::string temporary_name() {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, 0) != sizeof number) return {};
  return fmt::format(".fathom-{:016x}.tmp", number);
}

// Writes `text` beside the target and renames it over the target. Returns errno, 0 on success.
int put(const Target& target, std::string_view text, const struct stat* before) {
  const std::string name = temporary_name();
  if (name.empty()) return EAGAIN;
  const Descriptor file(::openat(target.parent.get(), name.c_str(),
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file) return errno;
  bool done = true;
  if (before != nullptr) {
    struct stat now {};
    done = ::fstat(file.get(), &now) == 0;
    // Giving a file away needs root; a user who may write here but not own keeps what is made.
    if (done && (now.st_uid != before->st_uid || now.st_gid != before->st_gid)) {
      if (::fchown(file.get(), before->st_uid, before->st_gid) != 0) errno = 0;
    }
    done = done && ::fchmod(file.get(), before->st_mode & 0777U) == 0;
  } else {
    adopt(file.get(), target.parent.get());
  }
  done =
      done && write_all(file.get(), text) &&
      ::renameat(target.parent.get(), name.c_str(), target.parent.get(), target.name.c_str()) == 0;
  const int error = done ? 0 : errno;
  if (!done) ::unlinkat(target.parent.get(), name.c_str(), 0);
  return error;
}

tl::unexpected<Refusal> refuse_read_only(std::string_view path) {
  return refuse(Refusal::Kind::read_only,
                fmt::format("{} cannot be written: the workspace is read-only here.", path));
}

}  // namespace

Result<Workspace::Written> Workspace::replace(std::string_view path, std::string_view text) const {
  const Result<std::string> name = relative(path);
  if (!name) return tl::unexpected(name.error());
  if (name->empty()) return tl::unexpected(refusal(EISDIR, path));
  if (profile_ == Profile::read_only) return refuse_read_only(*name);
  const Result<Target> target =
      Resolver(folder_.get(), root_).resolve(*name, /*make_folders=*/true);
  if (!target) return tl::unexpected(target.error());

  struct stat before {};
  const bool exists =
      ::fstatat(target->parent.get(), target->name.c_str(), &before, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && S_ISDIR(before.st_mode)) return tl::unexpected(refusal(EISDIR, *name));
  if (exists && !S_ISREG(before.st_mode)) return tl::unexpected(refusal(ENXIO, *name));
  const int error = put(*target, text, exists ? &before : nullptr);
  if (error != 0) return tl::unexpected(refusal(error, *name));
  return exists ? Written::replaced : Written::created;
}

Result<void> Workspace::remove(std::string_view path) const {
  const Result<std::string> name = relative(path);
  if (!name) return tl::unexpected(name.error());
  if (name->empty()) {
    return refuse(Refusal::Kind::failed, "The workspace itself is not removed.");
  }
  if (profile_ == Profile::read_only) return refuse_read_only(*name);
  const Result<Target> target =
      Resolver(folder_.get(), root_).resolve(*name, /*make_folders=*/false);
  if (!target) return tl::unexpected(target.error());
  if (::unlinkat(target->parent.get(), target->name.c_str(), 0) == 0) return {};
  if (errno == EISDIR &&
      ::unlinkat(target->parent.get(), target->name.c_str(), AT_REMOVEDIR) == 0) {
    return {};
  }
  return tl::unexpected(refusal(errno, *name));
}

}  // namespace fathom::sandbox
