// Writes beside the target and renames.
#include "engine/convert/part_file.h"

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(const std::string& text) noexcept {
  return std::as_bytes(std::span(text));
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

// A name is on the disk when its folder is.
void flush_folder(const fs::path& folder) {
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file) ::fsync(file.get());
}

}  // namespace

PartFile::PartFile(fs::path target, std::string header) : target_(std::move(target)) {
  path_ = target_;
  path_ += ".part";
  file_ = Descriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file_) fail("cannot be created");
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    throw Error(fmt::format("{}: another process is writing it", path_.string()));
  }
  size_ = size_of(file_.get());
  std::vector<std::byte> found(header.size());
  if (size_ >= std::ssize(header) && read_all(file_.get(), found, 0) &&
      std::memcmp(found.data(), header.data(), header.size()) == 0) {
    return;
  }
  resume_at(0);
  append(bytes_of(header));
}

void PartFile::resume_at(std::int64_t size) {
  if (::ftruncate(file_.get(), size) != 0) fail("cannot be cut off");
  size_ = size;
}

void PartFile::append(std::span<const std::byte> bytes) {
  if (!write_all(file_.get(), bytes, size_)) fail("cannot be written");
  size_ += std::ssize(bytes);
}

void PartFile::flush() {
  if (::fdatasync(file_.get()) != 0) fail("cannot be written");
}

void PartFile::finish(bool overwrite) {
  flush();
  const unsigned flags = overwrite ? 0 : RENAME_NOREPLACE;
  int renamed = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), flags);
  // Some file systems do not know the flag.
  if (renamed != 0 && errno == EINVAL && !fs::exists(target_)) {
    renamed = ::rename(path_.c_str(), target_.c_str());
  }
  if (renamed != 0) {
    throw Error(fmt::format("{}: cannot be named {}: {}", path_.string(),
                            target_.filename().string(), std::strerror(errno)));
  }
  flush_folder(folder_of(target_));
}

void PartFile::fail(const char* what) const {
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    throw Error(
        fmt::format("{}: the disk is full after {} bytes: {}. Free some space, then the same call "
                    "goes on from here",
                    path_.string(), size_, std::strerror(error)));
  }
  throw Error(fmt::format("{}: {}: {}", path_.string(), what, std::strerror(error)));
}

std::int64_t free_bytes(const fs::path& file) {
  std::error_code failure;
  const fs::space_info space = fs::space(folder_of(file), failure);
  if (failure) throw Error(fmt::format("{}: {}", folder_of(file).string(), failure.message()));
  return static_cast<std::int64_t>(space.available);
}

}  // namespace fathom::engine
