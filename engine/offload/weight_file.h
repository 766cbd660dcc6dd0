// A file of weights that is read piece by piece, past the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace fathom::engine {

// What disks and file systems ask of direct reads: places, sizes and memory in multiples of it.
inline constexpr std::int64_t kReadAlignment = 4096;

// The seam between the cache of experts and the disk; tests script it. Safe to use from several
// threads.
class WeightFile {
 public:
  WeightFile() = default;
  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;
  virtual ~WeightFile() = default;

  // Fills `to` with the bytes from `offset` on. Address, size and offset are multiples of
  // kReadAlignment; the last piece of a file may reach past its end. Returns 0, or what failed.
  virtual int read(std::span<std::byte> to, std::int64_t offset) noexcept = 0;

  // "PATH: at byte N: …": a failure of read() in words.
  virtual std::string sentence(int failure, std::int64_t offset) const = 0;
};

// The file at `path`, `size` bytes long. Its bytes leave no trace in the page cache, which would
// fill memory with a second copy; where the file system refuses that, they are dropped from it
// after each read. A file that is cut, exchanged or written to afterwards fails to read.
// Throws Error if it cannot be opened or has another size.
std::unique_ptr<WeightFile> open_weight_file(const std::filesystem::path& path, std::int64_t size);

}  // namespace fathom::engine
