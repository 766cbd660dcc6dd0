// Keeps the process alive when mapped memory cannot be read: the disk fails, or the file was cut
// short by somebody.
//
// The kernel says so with SIGBUS, in the middle of a loop over weights where nothing can be thrown.
// The handler then puts zeros in place of the mapping from that page on and notes the loss; the
// loop goes on over zeros. Whoever reads mapped memory asks lost() afterwards and throws away what
// it computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom::engine {

// Watches one mapping for as long as the object lives. A fault elsewhere goes to the handler that
// the process had before the first object.
class WatchedPages {
 public:
  // Throws Error if too many mappings are watched.
  explicit WatchedPages(std::span<const std::byte> mapping);
  ~WatchedPages();
  WatchedPages(const WatchedPages&) = delete;
  WatchedPages& operator=(const WatchedPages&) = delete;

  // Whether a page could not be read since; the rest of the mapping reads as zeros then.
  bool lost() const noexcept;

  // How many times a page of any watched mapping could not be read. What was computed between two
  // calls with the same answer came from no lost page.
  static std::uint64_t losses() noexcept;
  // Whether `address` lies in a watched mapping that is lost.
  static bool lost_at(const std::byte* address) noexcept;

 private:
  std::size_t slot_;
};

}  // namespace fathom::engine
