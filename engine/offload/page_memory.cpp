// Anonymous mappings.
#include "engine/offload/page_memory.h"

#include <new>

#include <sys/mman.h>

namespace fathom::engine {

PageMemory::PageMemory(std::int64_t bytes) {
  if (bytes == 0) return;
  const auto size = static_cast<std::size_t>(bytes);
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  // Where the system has them only for who asks: kernels walk megabytes in order.
  ::madvise(address, size, MADV_HUGEPAGE);
  bytes_ = {static_cast<std::byte*>(address), size};
}

PageMemory::~PageMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

void give_back(std::span<std::byte> pages) noexcept {
  ::madvise(pages.data(), pages.size(), MADV_DONTNEED);
}

}  // namespace fathom::engine
