// Regions of anonymous memory, and what becomes of their parts.
#include "engine/cache/row_pages.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include <unistd.h>

#include "engine/offload/page_memory.h"

namespace fathom::engine {
namespace {

constexpr std::int64_t kHugePage = std::int64_t{2} << 20;
constexpr std::int64_t kRegionBytes = std::int64_t{16} << 20;
constexpr int kRegionPages = 64;  // at least: what no page of rows fits into at the end is lost

std::int64_t round_up(std::int64_t bytes, std::int64_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

class RowPages::Region {
 public:
  explicit Region(std::int64_t page_bytes)
      : page_bytes_(page_bytes),
        bytes_(std::max(kRegionBytes, round_up(kRegionPages * page_bytes, kHugePage))),
        memory_(bytes_ + kHugePage),  // huge pages begin at multiples of their size
        released_(static_cast<std::size_t>(bytes_ / page_bytes)) {
    std::byte* first = memory_.bytes().data();
    const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(first));
    begin_ = first + (round_up(address, kHugePage) - address);
  }

  int pages() const noexcept { return static_cast<int>(released_.size()); }
  std::byte* page(int index) const noexcept { return begin_ + index * page_bytes_; }

  // Memory pages that others have a part of go when the last of them is released.
  void release(int index) noexcept {
    static const std::int64_t unit = ::sysconf(_SC_PAGESIZE);
    const std::lock_guard lock(mutex_);
    released_[static_cast<std::size_t>(index)] = true;
    const std::int64_t begin = index * page_bytes_;
    const std::int64_t end = begin + page_bytes_;
    const std::int64_t from =
        is_used(begin / unit * unit, begin) ? round_up(begin, unit) : begin / unit * unit;
    const std::int64_t to =
        is_used(end, round_up(end, unit)) ? end / unit * unit : round_up(end, unit);
    if (to > from) give_back({begin_ + from, static_cast<std::size_t>(to - from)});
  }

 private:
  // Whether a page that is not released has bytes in [from, to). Pages that were never handed out
  // count as used: they still will be.
  bool is_used(std::int64_t from, std::int64_t to) const noexcept {
    if (from == to) return false;
    const auto last = std::min<std::int64_t>((to - 1) / page_bytes_, pages() - 1);
    for (std::int64_t i = from / page_bytes_; i <= last; ++i) {
      if (!released_[static_cast<std::size_t>(i)]) return true;
    }
    return false;
  }

  std::int64_t page_bytes_;
  std::int64_t bytes_;
  PageMemory memory_;
  std::byte* begin_ = nullptr;
  std::mutex mutex_;
  std::vector<bool> released_;  // guarded by mutex_
};

struct RowPages::Release {
  std::shared_ptr<Region> region;
  int index;
  void operator()(std::byte*) const noexcept { region->release(index); }
};

std::shared_ptr<std::byte[]> RowPages::make() {
  if (from_heap_ < kRegionsFrom) {
    auto page = std::make_shared<std::byte[]>(static_cast<std::size_t>(page_bytes_));
    from_heap_ += page_bytes_;
    return page;
  }
  if (!region_ || taken_ == region_->pages()) {
    region_ = std::make_shared<Region>(page_bytes_);
    taken_ = 0;
  }
  const int index = taken_++;  // if there is no memory for its owner it counts as let go of
  return {region_->page(index), Release{.region = region_, .index = index}};
}

}  // namespace fathom::engine
