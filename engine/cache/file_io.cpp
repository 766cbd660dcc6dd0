// Whole reads and writes, whatever the kernel cuts them into.
#include "engine/cache/file_io.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fathom::engine {
namespace {

struct flock whole_file(int type) noexcept {
  struct flock lock = {};
  lock.l_type = static_cast<short>(type);
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

bool read_all(int file, std::span<std::byte> to, std::int64_t at) noexcept {
  while (!to.empty()) {
    const ssize_t count = ::pread(file, to.data(), to.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(count));
    at += count;
  }
  return true;
}

bool write_all(int file, std::span<const std::byte> from, std::int64_t at) noexcept {
  while (!from.empty()) {
    const ssize_t count = ::pwrite(file, from.data(), from.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    from = from.subspan(static_cast<std::size_t>(count));
    at += count;
  }
  return true;
}

std::int64_t size_of(int file) noexcept {
  struct stat about = {};
  return ::fstat(file, &about) == 0 ? about.st_size : 0;
}

bool begins_with(const std::filesystem::path& file, const FileMark& mark) noexcept {
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  FileMark found;
  constexpr std::size_t kBytes = sizeof found.magic + sizeof found.version;
  const auto bytes = std::as_writable_bytes(std::span(&found, 1)).first(kBytes);
  return in && read_all(in.get(), bytes, 0) && found == mark;
}

void mark_used(int file, bool used) noexcept {
  struct flock lock = whole_file(used ? F_RDLCK : F_UNLCK);
  ::fcntl(file, F_OFD_SETLK, &lock);
}

bool is_used(int file) noexcept {
  struct flock lock = whole_file(F_WRLCK);
  return ::fcntl(file, F_OFD_SETLK, &lock) != 0 && (errno == EAGAIN || errno == EACCES);
}

}  // namespace fathom::engine
