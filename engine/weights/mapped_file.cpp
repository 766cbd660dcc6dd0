// Maps a file with mmap.
#include "engine/weights/mapped_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::engine {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw Error(fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: opening a pipe must not wait for a writer; it is refused below.
  file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file_ < 0) fail(path, "cannot be opened");
  try {
    map();
  } catch (...) {
    release();
    throw;
  }
}

MappedFile::~MappedFile() {
  release();
}

void MappedFile::map() {
  opened_ = version();
  if (opened_.bytes <= 0) throw Error(fmt::format("{}: the file is empty", path_.string()));
  const auto size = static_cast<std::size_t>(opened_.bytes);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file_, 0);
  if (address == MAP_FAILED) fail(path_, "cannot be mapped into memory");
  bytes_ = {static_cast<const std::byte*>(address), size};
  pages_.emplace(bytes_);
}

void MappedFile::release() noexcept {
  pages_.reset();
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());  // NOLINT: mmap's own pointer
  }
  ::close(file_);
}

MappedFile::Version MappedFile::version() const {
  struct stat status {};
  if (::fstat(file_, &status) != 0) fail(path_, "cannot be examined");
  if (!S_ISREG(status.st_mode)) {
    throw Error(fmt::format("{}: expected a regular file", path_.string()));
  }
  return {.bytes = status.st_size,
          .seconds = status.st_mtim.tv_sec,
          .nanoseconds = status.st_mtim.tv_nsec};
}

void MappedFile::expect_unchanged() const {
  const Version now = version();
  if (now.bytes != opened_.bytes) {
    throw Error(fmt::format("{}: has {} bytes, expected the {} it had when it was opened",
                            path_.string(), now.bytes, opened_.bytes));
  }
  if (lost()) {
    throw Error(
        fmt::format("{}: a part of it could not be read, expected all {} bytes; the disk "
                    "may be failing",
                    path_.string(), opened_.bytes));
  }
  if (now != opened_) {
    throw Error(fmt::format("{}: was written to, expected it to stay as it was when it was opened",
                            path_.string()));
  }
}

void MappedFile::expect_sequential_reads() const noexcept {
  ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_SEQUENTIAL);  // NOLINT
}

void MappedFile::forget(std::span<const std::byte> part) const noexcept {
  const auto address = [](const std::byte* at) { return reinterpret_cast<std::uintptr_t>(at); };
  const std::byte* stop = bytes_.data() + bytes_.size();
  if (address(part.data()) < address(bytes_.data()) ||
      address(part.data() + part.size()) > address(stop)) {
    return;
  }
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = address(part.data()) / page * page;
  const std::uintptr_t end = address(part.data() + part.size()) / page * page;
  // Up to the last whole page, which may hold what comes next.
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // NOLINT
}

}  // namespace fathom::engine
