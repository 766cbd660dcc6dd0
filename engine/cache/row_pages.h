// RowPages: memory for the pages of a long timeline, in few and large pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace fathom::engine {

// A token at a depth of a million looks at rows and keys in every page of its timeline, and from
// the heap each of those lies on memory pages of its own: finding them then costs more than reading
// them. So what a timeline adds beyond kRegionsFrom comes from regions that the system may back by
// huge pages; before that one would take more room than it saves time.
//
// A page is given back to the system when its last owner is gone, also while others of its region
// live. Used by one thread at a time; pages may be let go of by any.
class RowPages {
 public:
  static constexpr std::int64_t kRegionsFrom = std::int64_t{16} << 20;

  explicit RowPages(std::int64_t page_bytes) : page_bytes_(page_bytes) {}
  // A copy begins anew, as a fork adds little to what it shares.
  RowPages(const RowPages& other) : page_bytes_(other.page_bytes_) {}
  RowPages(RowPages&&) noexcept = default;
  RowPages& operator=(RowPages&&) noexcept = default;
  ~RowPages() = default;

  // All zeros. Throws std::bad_alloc.
  std::shared_ptr<std::byte[]> make();

 private:
  class Region;
  struct Release;

  std::int64_t page_bytes_;
  std::int64_t from_heap_ = 0;      // bytes
  std::shared_ptr<Region> region_;  // the one that is not full
  int taken_ = 0;                   // of its pages
};

}  // namespace fathom::engine
