// Whole reads and writes, whatever the kernel cuts them into.
#include "engine/cache/file_io.h"

#include <cerrno>

#include <sys/stat.h>
#include <unistd.h>

namespace fathom::engine {

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

}  // namespace fathom::engine
