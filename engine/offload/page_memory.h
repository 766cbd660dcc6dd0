// Memory of whole pages that takes room only where it has been written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace fathom::engine {

// Owns its bytes, which are aligned for direct reads.
class PageMemory {
 public:
  PageMemory() = default;
  // `bytes`: whole pages. Throws std::bad_alloc.
  explicit PageMemory(std::int64_t bytes);
  PageMemory(PageMemory&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  PageMemory& operator=(PageMemory&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PageMemory();

  std::span<std::byte> bytes() const noexcept { return bytes_; }
  std::span<std::byte> part(std::int64_t begin, std::int64_t count) const noexcept {
    return bytes_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  }

 private:
  std::span<std::byte> bytes_;
};

// Gives the room of whole pages back to the system; their contents are lost.
void give_back(std::span<std::byte> pages) noexcept;

}  // namespace fathom::engine
