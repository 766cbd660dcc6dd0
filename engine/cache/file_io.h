// Whole reads and writes at a place of a file, and a descriptor that closes itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

namespace fathom::engine {

class Descriptor {
 public:
  explicit Descriptor(int number = -1) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  int get() const noexcept { return number_; }
  explicit operator bool() const noexcept { return number_ >= 0; }

 private:
  int number_;
};

// False, with errno set or at the end of the file, unless all bytes were read or written.
bool read_all(int file, std::span<std::byte> to, std::int64_t at) noexcept;
bool write_all(int file, std::span<const std::byte> from, std::int64_t at) noexcept;

std::int64_t size_of(int file) noexcept;  // 0 if it cannot be had

// How a file of the cache begins: which kind it is, and in which version it was written.
struct FileMark {
  std::array<char, 8> magic{};
  std::uint32_t version = 0;
  bool operator==(const FileMark&) const = default;
};
bool begins_with(const std::filesystem::path& file, const FileMark& mark) noexcept;

// Says to other processes that an open file is in use, until it is closed or `used` is false; with
// file locks of another kind than flock, so that whoever appends is not hindered.
void mark_used(int file, bool used) noexcept;
// Whether anybody has said so. `file` must be open for writing.
bool is_used(int file) noexcept;

}  // namespace fathom::engine
