// Whole reads and writes at a place of a file, and a descriptor that closes itself.
#pragma once

#include <cstddef>
#include <cstdint>
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

}  // namespace fathom::engine
