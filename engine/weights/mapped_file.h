// A file mapped for reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "engine/weights/watched_pages.h"

namespace fathom::engine {

// Immutable; unmapped by the destructor. A file that shrinks or fails while it is mapped reads as
// zeros from there on: expect_unchanged() tells.
class MappedFile {
 public:
  // Throws Error that names the file if it cannot be opened, is no regular file or is empty.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  std::int64_t size() const noexcept { return static_cast<std::int64_t>(bytes_.size()); }

  // Advice to the kernel: the whole file will be read once from front to back.
  void expect_sequential_reads() const noexcept;

  // What was read since the file was opened is what it held then. Throws Error that names the file
  // if a part could not be read, or if somebody wrote to it or cut it.
  void expect_unchanged() const;
  // The cheap half of it, without a system call: whether a part could not be read.
  bool lost() const noexcept { return pages_->lost(); }
  // Advice to the kernel: these bytes will not be read again soon and need not stay in memory. Does
  // nothing for bytes that are not this file's.
  void forget(std::span<const std::byte> part) const noexcept;

 private:
  struct Version {  // of the contents, as the file system tells it
    std::int64_t bytes = 0;
    std::int64_t seconds = 0;  // of the last change
    std::int64_t nanoseconds = 0;
    bool operator==(const Version&) const = default;
  };
  Version version() const;
  void map();
  void release() noexcept;

  std::filesystem::path path_;
  int file_ = -1;
  Version opened_;
  std::span<const std::byte> bytes_;
  std::optional<WatchedPages> pages_;
};

}  // namespace fathom::engine
