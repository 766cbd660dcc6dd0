// The pages of a timeline; copies share them, and the list of them too.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace fathom::engine {

// A fork of half a million tokens would count 4,096 pages up, each in a cache line of its own, and
// down again. So their owners lie in chunks, which copies share until one of them changes there.
// Used by one thread at a time; copies may be used by others.
class PageList {
 public:
  using Owner = std::shared_ptr<std::byte[]>;

  PageList() = default;
  PageList(const PageList& other) : addresses_(other.addresses_), chunks_(other.chunks_) {
    for (const Chunk& chunk : other.chunks_) chunk.shared = true;
    for (const Chunk& chunk : chunks_) chunk.shared = true;
  }
  PageList(PageList&&) noexcept = default;
  PageList& operator=(PageList&&) noexcept = default;
  ~PageList() = default;

  int size() const noexcept { return static_cast<int>(addresses_.size()); }
  std::byte* const* addresses() const noexcept { return addresses_.data(); }
  std::byte* operator[](int index) const noexcept { return addresses_[at(index)]; }
  const Owner& owner(int index) const noexcept {
    return (*chunks_[at(index) / kChunk].pages)[at(index) % kChunk];
  }

  // Both may throw std::bad_alloc and have then changed nothing.
  void append(Owner page) {
    // Doubling, as push_back does, but for both lists before either changes.
    if (addresses_.size() == addresses_.capacity()) addresses_.reserve(2 * addresses_.size() + 1);
    const std::size_t chunk = addresses_.size() / kChunk;
    if (chunk == chunks_.size()) chunks_.push_back({.pages = std::make_shared<Owners>()});
    addresses_.push_back(page.get());
    try {
      own(chunk)[at(size() - 1) % kChunk] = std::move(page);
    } catch (...) {
      addresses_.pop_back();
      throw;
    }
  }
  void replace(int index, Owner page) {
    Owners& owners = own(at(index) / kChunk);
    addresses_[at(index)] = page.get();
    owners[at(index) % kChunk] = std::move(page);
  }

  // Keeps the first `count`.
  void shorten(int count) noexcept {
    if (count >= size()) return;
    const std::size_t kept = at(count);
    const std::size_t chunks = (kept + kChunk - 1) / kChunk;
    // What a shared chunk has beyond stays with it until this list needs the place.
    if (kept % kChunk != 0 && !chunks_[chunks - 1].shared) {
      Owners& last = *chunks_[chunks - 1].pages;
      std::fill(last.begin() + static_cast<std::ptrdiff_t>(kept % kChunk), last.end(), nullptr);
    }
    chunks_.resize(chunks);
    addresses_.resize(kept);
  }

 private:
  static constexpr std::size_t kChunk = 64;
  using Owners = std::array<Owner, kChunk>;
  struct Chunk {
    std::shared_ptr<Owners> pages = {};
    // With a copy, which may still be there; asking the pointer's count would race with its end.
    mutable bool shared = false;
  };

  static std::size_t at(int index) noexcept { return static_cast<std::size_t>(index); }

  Owners& own(std::size_t chunk) {
    if (chunks_[chunk].shared) {
      auto owners = std::make_shared<Owners>();
      const std::size_t first = chunk * kChunk;
      const std::size_t used = std::min(kChunk, addresses_.size() - first);
      std::copy_n(chunks_[chunk].pages->begin(), used, owners->begin());
      chunks_[chunk] = {.pages = std::move(owners)};
    }
    return *chunks_[chunk].pages;
  }

  std::vector<std::byte*> addresses_;
  std::vector<Chunk> chunks_;
};

}  // namespace fathom::engine
