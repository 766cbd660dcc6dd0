// File access from the agent's own process, confined to one folder.
//
// Every path is resolved once, from a descriptor of the folder, by
// openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS): neither "..", absolute symlinks nor a race can
// lead outside. Files are replaced, never written through, so hard links and symlinks lead nowhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "sandbox/descriptor.h"
#include "sandbox/policy.h"

namespace fathom::sandbox {

// Why a file could not be read or written; an ordinary outcome, shown to the model.
struct Refusal {
  enum class Kind {
    not_found,
    outside,         // leads out of the workspace
    protected_path,  // one of the names that run later: .git/hooks, .envrc, …
    read_only,       // the profile allows no writing
    not_regular,     // a device, socket or fifo
    is_directory,
    not_directory,  // a parent is a file
    too_large,
    not_empty,  // a folder to be removed has entries
    bad_path,   // empty, a NUL byte, too long
    failed      // anything else the kernel answered
  };

  Kind kind;
  std::string text;  // one sentence that names the path
};

template <typename T>
using Result = tl::expected<T, Refusal>;

struct Entry {
  enum class Kind { file, directory, symlink, other };

  std::string path;  // relative to the workspace, normalised, '/'-separated; "" is the workspace
  Kind kind = Kind::file;
  std::int64_t bytes = 0;        // of a file
  unsigned mode = 0;             // permission bits
  std::int64_t modified_ns = 0;  // since the epoch
};

class Workspace {
 public:
  // Throws Error if `root` is not a folder that can be opened, or the kernel lacks openat2.
  explicit Workspace(const std::filesystem::path& root, Profile profile = Profile::workspace_write);

  // Absolute, without symlinks.
  const std::filesystem::path& root() const noexcept { return root_; }

  // `path` as every Entry spells it: "./a//b" and "/root/a/b" become "a/b"; "." becomes "".
  // Only spelling: says nothing about what exists.
  Result<std::string> relative(std::string_view path) const;

  // The whole file; refuses one of more than `limit` bytes before reading it.
  Result<std::string> read(std::string_view path, std::int64_t limit) const;

  // The file open for reading; regular files only. Symlinks that stay inside are followed.
  Result<Descriptor> open(std::string_view path) const;

  enum class Written { created, replaced };

  // Makes `text` the file's whole content, at once or not at all: temporary file, fsync, rename.
  // An existing file keeps its mode and owner; missing parent folders are created. What exists and
  // is no regular file is refused, a symlink too.
  Result<Written> replace(std::string_view path, std::string_view text) const;

  // Does not follow a symlink as last part.
  Result<Entry> stat(std::string_view path) const;

  // The folder's entries, sorted bytewise by name.
  Result<std::vector<Entry>> list(std::string_view path) const;

  // Removes a file, a symlink or an empty folder.
  Result<void> remove(std::string_view path) const;

  enum class Walk { on, skip, stop };  // skip: do not enter this folder
  using Visit = std::function<Walk(const Entry&)>;

  // Visits everything below the folder `path` in preorder, each folder's entries sorted bytewise
  // by name. Symlinks are visited and never entered; what cannot be read is passed over.
  Result<void> walk(std::string_view path, const Visit& visit) const;

 private:
  // Constant after construction, so safe to use from several threads.
  std::filesystem::path root_;
  Descriptor folder_;
  Profile profile_;
};

}  // namespace fathom::sandbox
