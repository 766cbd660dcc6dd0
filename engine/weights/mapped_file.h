// A file mapped for reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace fathom::engine {

// Immutable; unmapped by the destructor. Shrinking the file meanwhile makes reads fail with SIGBUS.
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

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace fathom::engine
