// Direct reads with O_DIRECT, or buffered ones that are dropped again.
#include "engine/offload/weight_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/cache/file_io.h"
#include "engine/error.h"

namespace fathom::engine {
namespace {

// Failures beside those of errno, which are positive.
constexpr int kCut = -1;
constexpr int kChanged = -2;

struct Version {
  std::int64_t size = 0;
  std::int64_t seconds = 0;  // of the last change of its bytes
  std::int64_t nanoseconds = 0;

  bool operator==(const Version&) const = default;
};

// Of no size if it cannot be had.
Version version_of(int file) noexcept {
  struct stat about = {};
  if (::fstat(file, &about) != 0) return {};
  return {about.st_size, about.st_mtim.tv_sec, about.st_mtim.tv_nsec};
}

class DirectFile final : public WeightFile {
 public:
  DirectFile(const std::filesystem::path& path, std::int64_t size)
      : path_(path),
        buffered_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)),
        direct_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)),
        version_(version_of(buffered_.get())) {
    if (!buffered_) {
      throw Error(fmt::format("{}: cannot be opened: {}", path.string(), std::strerror(errno)));
    }
    if (version_.size != size) {
      throw Error(
          fmt::format("{}: has {} bytes, expected {} as a moment before: it changes while "
                      "it is loaded",
                      path.string(), version_.size, size));
    }
    // What is read is chosen by the router; reading ahead would read what nobody asked for.
    ::posix_fadvise(buffered_.get(), 0, 0, POSIX_FADV_RANDOM);
  }

  int read(std::span<std::byte> to, std::int64_t offset) noexcept override {
    const Version now = version_of(buffered_.get());
    if (now.size < version_.size) return kCut;
    if (now != version_) return kChanged;
    int failure = direct_ ? read_from(direct_.get(), to, offset) : EINVAL;
    if (failure != EINVAL) return failure;
    failure = read_from(buffered_.get(), to, offset);
    ::posix_fadvise(buffered_.get(), offset, std::ssize(to), POSIX_FADV_DONTNEED);
    return failure;
  }

  std::string sentence(int failure, std::int64_t offset) const override {
    const std::string what =
        failure == kCut       ? "the file has become shorter, expected it whole: restore it"
        : failure == kChanged ? "the file was changed after it was loaded: load the model again"
                              : fmt::format("cannot be read: {}", std::strerror(failure));
    return fmt::format("{}: at byte {}: {}", path_.string(), offset, what);
  }

 private:
  int read_from(int file, std::span<std::byte> to, std::int64_t offset) const noexcept {
    const std::int64_t end = std::min(offset + std::ssize(to), version_.size);
    while (offset < end) {
      const ssize_t count = ::pread(file, to.data(), to.size(), offset);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno;
      if (count == 0) return kCut;
      to = to.subspan(static_cast<std::size_t>(count));
      offset += count;
      // Direct reads go on only from whole multiples; elsewhere the buffered descriptor does.
      if (offset < end && offset % kReadAlignment != 0) return EINVAL;
    }
    return 0;
  }

  // Constant after construction.
  std::filesystem::path path_;
  Descriptor buffered_, direct_;
  Version version_;
};

}  // namespace

std::unique_ptr<WeightFile> open_weight_file(const std::filesystem::path& path, std::int64_t size) {
  return std::make_unique<DirectFile>(path, size);
}

}  // namespace fathom::engine
