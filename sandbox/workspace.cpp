// Reading side of Workspace: spelling of paths, open, read, stat, list, walk.
#include "sandbox/workspace.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include "sandbox/beneath.h"
#include "sandbox/error.h"

namespace fathom::sandbox {
namespace {

// A folder nested deeper is passed over: each level of a walk holds a descriptor.
constexpr int kWalkDepthMax = 200;

Entry entry_of(std::string path, const struct stat& status) {
  Entry entry{.path = std::move(path), .mode = status.st_mode & 07777U};
  entry.modified_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      entry.kind = Entry::Kind::file;
      entry.bytes = status.st_size;
      break;
    case S_IFDIR:
      entry.kind = Entry::Kind::directory;
      break;
    case S_IFLNK:
      entry.kind = Entry::Kind::symlink;
      break;
    default:
      entry.kind = Entry::Kind::other;
  }
  return entry;
}

// The entries of an open folder, sorted bytewise. Takes the descriptor.
std::vector<Entry> entries_of(Descriptor folder, const std::string& path) {
  std::vector<Entry> entries;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(folder.get()), ::closedir);
  if (!stream) return entries;
  const int number = folder.release();
  while (const dirent* found = ::readdir(stream.get())) {
    const std::string_view name = found->d_name;
    if (name == "." || name == "..") continue;
    struct stat status {};
    if (::fstatat(number, found->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    entries.push_back(
        entry_of(path.empty() ? std::string(name) : fmt::format("{}/{}", path, name), status));
  }
  std::ranges::sort(entries, {}, &Entry::path);
  return entries;
}

// Returns false if the visitor wants no more.
bool walk_folder(int root, const std::string& path, int depth, const Workspace::Visit& visit) {
  Descriptor folder = open_beneath(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!folder) return true;
  for (const Entry& entry : entries_of(std::move(folder), path)) {
    const Workspace::Walk next = visit(entry);
    if (next == Workspace::Walk::stop) return false;
    if (entry.kind != Entry::Kind::directory || next == Workspace::Walk::skip) continue;
    if (depth < kWalkDepthMax && !walk_folder(root, entry.path, depth + 1, visit)) return false;
  }
  return true;
}

}  // namespace

Workspace::Workspace(const std::filesystem::path& root, Profile profile) : profile_(profile) {
  std::error_code failed;
  root_ = std::filesystem::canonical(root, failed);
  if (failed) {
    throw Error(
        fmt::format("workspace {}: {}; name an existing folder", root.string(), failed.message()));
  }
  folder_.reset(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder_) {
    throw Error(fmt::format("workspace {}: {}; name a folder that can be opened", root_.string(),
                            std::strerror(errno)));
  }
  if (!open_beneath(folder_.get(), "", O_PATH) && errno == ENOSYS) {
    throw Error("this kernel has no openat2, which confines file access; Linux 5.6 has it");
  }
}

Result<std::string> Workspace::relative(std::string_view path) const {
  const std::string_view given = path;
  if (path.find('\0') != std::string_view::npos) {
    return refuse(Refusal::Kind::bad_path, "The path holds a NUL byte.");
  }
  if (path.starts_with('/')) {
    const std::string& root = root_.native();
    if (!path.starts_with(root) || (path.size() > root.size() && path[root.size()] != '/')) {
      return refuse(Refusal::Kind::outside, fmt::format("{} is outside the workspace.", given));
    }
    path.remove_prefix(root.size());
  }
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    } else {
      return refuse(Refusal::Kind::outside, fmt::format("{} is outside the workspace.", given));
    }
  }
  return fmt::format("{}", fmt::join(parts, "/"));
}

Result<Descriptor> Workspace::open(std::string_view path) const {
  const Result<std::string> name = relative(path);
  if (!name) return tl::unexpected(name.error());
  Descriptor file = open_beneath(folder_.get(), *name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return tl::unexpected(refusal(errno, *name));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return tl::unexpected(refusal(errno, *name));
  if (S_ISDIR(status.st_mode)) return tl::unexpected(refusal(EISDIR, *name));
  if (!S_ISREG(status.st_mode)) return tl::unexpected(refusal(ENXIO, *name));
  return file;
}

Result<std::string> Workspace::read(std::string_view path, std::int64_t limit) const {
  Result<Descriptor> file = open(path);
  if (!file) return tl::unexpected(file.error());
  struct stat status {};
  if (::fstat(file->get(), &status) != 0) return tl::unexpected(refusal(errno, path));
  std::string text;
  const auto too_large = [&] {
    return refuse(Refusal::Kind::too_large,
                  fmt::format("{} has {} bytes; at most {} are read.", path,
                              std::max<std::int64_t>(status.st_size, std::ssize(text)), limit));
  };
  if (status.st_size > limit) return too_large();

  // One byte more than the size: the file may grow meanwhile, and /proc-like files state none.
  text.resize(static_cast<std::size_t>(status.st_size) + 1);
  std::size_t filled = 0;
  while (true) {
    const ssize_t got = ::read(file->get(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(refusal(errno, path));
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
    if (static_cast<std::int64_t>(filled) > limit) return too_large();
    if (filled == text.size()) text.resize(text.size() * 2);
  }
  text.resize(filled);
  return text;
}

Result<Entry> Workspace::stat(std::string_view path) const {
  const Result<std::string> name = relative(path);
  if (!name) return tl::unexpected(name.error());
  const Descriptor file = open_beneath(folder_.get(), *name, O_PATH | O_NOFOLLOW);
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return tl::unexpected(refusal(errno, *name));
  return entry_of(*name, status);
}

Result<std::vector<Entry>> Workspace::list(std::string_view path) const {
  const Result<std::string> name = relative(path);
  if (!name) return tl::unexpected(name.error());
  Descriptor folder = open_beneath(folder_.get(), *name, O_RDONLY | O_DIRECTORY);
  if (!folder) return tl::unexpected(refusal(errno, *name));
  return entries_of(std::move(folder), *name);
}

Result<void> Workspace::walk(std::string_view path, const Visit& visit) const {
  const Result<std::string> name = relative(path);
  if (!name) return tl::unexpected(name.error());
  const Descriptor folder = open_beneath(folder_.get(), *name, O_PATH | O_DIRECTORY);
  if (!folder) return tl::unexpected(refusal(errno, *name));
  walk_folder(folder_.get(), *name, 0, visit);
  return {};
}

}  // namespace fathom::sandbox
