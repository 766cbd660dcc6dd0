// The fresh root: a small file system in memory into which only what the policy shows is mounted.
//
// Built from detached mounts (open_tree, mount_setattr, move_mount): a mount gets its final flags
// before anyone can see it. At the end the old root is stacked over the new one and detached, so
// no path, descriptor or ".." leads back.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

constexpr char kLayer[] = "mount-namespace";
constexpr unsigned kBase = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr char kEmptyFile[] = ".empty";
constexpr char kEmptyFolder[] = ".void";
constexpr char kDeafSocket[] = ".socket";  // bound by nobody: connecting is refused

// A detached file system. `options` are key and value in turn, ended by a null pointer.
int make_file_system(const Jail& jail, const char* type, unsigned attributes,
                     const char* const* options) noexcept {
  const int context = ::fsopen(type, FSOPEN_CLOEXEC);
  if (context < 0) fail(jail, kLayer, type);
  for (; *options != nullptr; options += 2) {
    if (::fsconfig(context, FSCONFIG_SET_STRING, options[0], options[1], 0) != 0) {
      fail(jail, kLayer, options[0]);
    }
  }
  if (::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) fail(jail, kLayer, type);
  const int mount = ::fsmount(context, FSMOUNT_CLOEXEC, attributes);
  if (mount < 0) fail(jail, kLayer, type);
  ::close(context);
  return mount;
}

int make_memory(const Jail& jail, std::int64_t bytes, const char* mode) noexcept {
  char size[24];
  std::snprintf(size, sizeof size, "%lld", static_cast<long long>(bytes));
  const char* const options[] = {"size", size, "mode", mode, "nr_inodes", "1048576", nullptr};
  return make_file_system(jail, "tmpfs", kBase, options);
}

// Makes `path` and what leads to it; the last part is a file if `directory` is false.
void make_place(const Jail& jail, int root, const char* path, bool directory) noexcept {
  char part[4096];
  const std::size_t length = std::strlen(path);
  if (length >= sizeof part) {
    errno = ENAMETOOLONG;
    fail(jail, kLayer, path);
  }
  for (std::size_t end = 1; end <= length; ++end) {
    if (path[end] != '/' && path[end] != '\0') continue;
    std::memcpy(part, path, end);
    part[end] = '\0';
    if (end < length || directory) {
      if (::mkdirat(root, part, 0755) != 0 && errno != EEXIST) fail(jail, kLayer, part);
    } else {
      const int file = ::openat(root, part, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
      if (file < 0 && errno != EEXIST && errno != EROFS) fail(jail, kLayer, part);
      ::close(file);
    }
  }
}

void attach(const Jail& jail, int tree, int root, const char* target) noexcept {
  if (::move_mount(tree, "", root, target, MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    fail(jail, kLayer, target);
  }
}

int clone_tree(const Jail& jail, int folder, const char* path, unsigned flags) noexcept {
  const int tree = ::open_tree(folder, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
  if (tree < 0) fail(jail, kLayer, path);
  return tree;
}

void set_attributes(const Jail& jail, int tree, unsigned set, const char* what) noexcept {
  mount_attr attributes{};
  attributes.attr_set = set;
  if (::mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) !=
      0) {
    fail(jail, kLayer, what);
  }
}

// Opens below a folder of the policy without following a single symlink: the names come from the
// host, but what lies there was written by earlier commands.
int open_guarded(int folder, const char* path) noexcept {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  return static_cast<int>(::syscall(SYS_openat2, folder, path, &how, sizeof how));
}

// Mounts each guarded name on itself. A mount point can be neither renamed nor removed; this is
// the only layer of P4, since Landlock cannot take back a right for a part of a tree.
void guard_names(const Jail& jail, int root, int folder, const std::string& source) noexcept {
  for (const Guard& guard : jail.plan.guards) {
    if (guard.root != source) continue;
    const int place = open_guarded(folder, guard.path.c_str());
    if (place < 0) fail(jail, "protected-paths", guard.path.c_str());
    if (guard.socket && ::mknodat(root, kDeafSocket, S_IFSOCK | 0600, 0) != 0 && errno != EEXIST) {
      fail(jail, "protected-paths", kDeafSocket);
    }
    const int tree = guard.socket ? clone_tree(jail, root, kDeafSocket, 0)
                                  : clone_tree(jail, place, "", AT_EMPTY_PATH | AT_RECURSIVE);
    if (guard.read_only) set_attributes(jail, tree, kBase | MOUNT_ATTR_RDONLY, "protected path");
    if (::move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
      fail(jail, "protected-paths", guard.path.c_str());
    }
    ::close(tree);
    ::close(place);
  }
}

void mount_binds(const Jail& jail, int root, const int* trees) noexcept {
  for (const Bind& bind : jail.layout.binds) {
    const char* target = bind.target.c_str();
    make_place(jail, root, target, bind.directory);
    const int tree =
        bind.passed ? *trees++ : clone_tree(jail, AT_FDCWD, bind.source.c_str(), AT_RECURSIVE);
    set_attributes(jail, tree, bind.writable ? kBase : kBase | MOUNT_ATTR_RDONLY, target);
    attach(jail, tree, root, target);
    if (bind.guarded) guard_names(jail, root, tree, bind.source);
    ::close(tree);
  }
}

// The device nodes are the host's own: inside a user namespace none can be made.
void mount_devices(const Jail& jail, int root) noexcept {
  make_place(jail, root, "dev/pts", /*directory=*/true);
  for (const std::string& device : jail.layout.devices) {
    char path[64];
    std::snprintf(path, sizeof path, "/dev/%s", device.c_str());
    make_place(jail, root, path + 1, /*directory=*/false);
    const int tree = clone_tree(jail, AT_FDCWD, path, 0);
    set_attributes(jail, tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, path);
    attach(jail, tree, root, path + 1);
    ::close(tree);
  }
  const char* const options[] = {"mode", "620", "ptmxmode", "666", nullptr};
  attach(jail, make_file_system(jail, "devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, options),
         root, "dev/pts");
}

// Who commits is no secret, and git refuses to commit without knowing.
void write_git_settings(const Jail& jail, int scratch) noexcept {
  const std::string& text = jail.plan.git_settings;
  const int file = ::openat(scratch, "home/.gitconfig", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  if (file < 0 || ::write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    fail(jail, kLayer, ".gitconfig");
  }
  ::close(file);
}

// HOME, /tmp and /dev/shm are folders of one file system, so one size limits them together.
void mount_scratch(const Jail& jail, int root) noexcept {
  const Limits& limits = jail.plan.limits;
  const int scratch = make_memory(jail, std::min(limits.memory_bytes, limits.disk_bytes), "755");
  make_place(jail, root, "tmp", /*directory=*/true);
  attach(jail, scratch, root, "tmp");
  const struct {
    const char* name;
    const char* target;
    mode_t mode;
  } folders[] = {{"tmp", "tmp", 01777},  // over the file system's own root, which it hides
                 {"shm", "dev/shm", 01777},
                 {"home", jail.layout.home.c_str(), 0700}};  // may lie below /tmp
  for (const auto& folder : folders) {
    if (::mkdirat(scratch, folder.name, folder.mode) != 0 ||
        ::fchmodat(scratch, folder.name, folder.mode, 0) != 0) {
      fail(jail, kLayer, folder.target);
    }
    const int tree = clone_tree(jail, scratch, folder.name, 0);
    make_place(jail, root, folder.target, /*directory=*/true);
    attach(jail, tree, root, folder.target);
    ::close(tree);
  }
  write_git_settings(jail, scratch);
  ::close(scratch);
}

void cover(const Jail& jail, int root) noexcept {
  if (jail.layout.masked.empty()) return;
  make_place(jail, root, kEmptyFile, /*directory=*/false);
  make_place(jail, root, kEmptyFolder, /*directory=*/true);
  for (const std::string& path : jail.layout.masked) {
    struct stat status {};
    if (::fstatat(root, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const int tree = clone_tree(jail, root, S_ISDIR(status.st_mode) ? kEmptyFolder : kEmptyFile, 0);
    set_attributes(jail, tree, kBase | MOUNT_ATTR_RDONLY, path.c_str());
    attach(jail, tree, root, path.c_str());
    ::close(tree);
  }
}

void link_names(const Jail& jail, int root) noexcept {
  for (const Symlink& link : jail.layout.symlinks) {
    if (::symlinkat(link.to.c_str(), root, link.path.c_str()) != 0 && errno != EEXIST) {
      fail(jail, kLayer, link.path.c_str());
    }
  }
}

}  // namespace

void build_root(const Jail& jail, const int* trees, int count) noexcept {
  const auto passed = std::ranges::count_if(jail.layout.binds, &Bind::passed);
  if (passed != count) {
    errno = EPROTO;
    fail(jail, kLayer, "passed trees");
  }
  const int root = make_memory(jail, 4 * kMiB, "755");
  if (::move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    fail(jail, kLayer, "attaching the fresh root");
  }
  mount_devices(jail, root);
  mount_scratch(jail, root);
  make_place(jail, root, "proc", /*directory=*/true);
  make_place(jail, root, "var", /*directory=*/true);
  make_place(jail, root, "run", /*directory=*/true);
  const char* const none[] = {nullptr};
  attach(jail, make_file_system(jail, "proc", kBase | MOUNT_ATTR_NOEXEC, none), root, "proc");
  mount_binds(jail, root, trees);
  link_names(jail, root);
  cover(jail, root);

  mount_attr read_only{};
  read_only.attr_set = MOUNT_ATTR_RDONLY;
  if (::mount_setattr(root, "", AT_EMPTY_PATH, &read_only, sizeof read_only) != 0) {
    fail(jail, kLayer, "making the root read-only");
  }
  if (::fchdir(root) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
      ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
    fail(jail, kLayer, "pivot_root");
  }
  ::close(root);
}

void freeze_settings(const Jail& jail) noexcept {
  const int tree = clone_tree(jail, AT_FDCWD, "/proc/sys", 0);
  set_attributes(jail, tree, kBase | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, "/proc/sys");
  attach(jail, tree, AT_FDCWD, "/proc/sys");
  ::close(tree);
}

}  // namespace fathom::sandbox
