// The table of watched mappings, and the handler that reads it.
#include "engine/weights/watched_pages.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::engine {
namespace {

// Checkpoints have at most some hundred shards, and a million tokens lie in some hundred files of
// the cache. A table, because a handler can neither lock nor follow pointers that others free.
constexpr std::size_t kSlots = 4096;

struct Slot {
  std::atomic<std::uintptr_t> begin = 0;  // 0: free; set last, cleared first
  std::atomic<std::uintptr_t> end = 0;
  std::atomic<bool> lost = false;
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);

std::array<Slot, kSlots> slots;
std::atomic<std::size_t> slots_used = 0;  // those behind were never taken
std::atomic<std::uint64_t> loss_count = 0;
std::mutex slots_mutex;  // held while a slot is taken
std::uintptr_t page_bytes = 0;
struct sigaction before = {};  // what the process did about SIGBUS

// NOLINTNEXTLINE(performance-no-int-to-ptr): addresses come from siginfo_t
bool put_zeros(std::uintptr_t begin, std::uintptr_t end) noexcept {
  return ::mmap(reinterpret_cast<void*>(begin), end - begin, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

void hand_on(int signal, siginfo_t* info, void* context) noexcept {
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    // The same instruction faults again when this returns, and ends the process.
    ::sigaction(signal, &before, nullptr);
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Slot& slot : slots) {
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = slot.end.load(std::memory_order_relaxed);
    if (begin == 0 || address < begin || address >= end) continue;
    // First, so that nobody who reads zeros finds that all is well.
    slot.lost.store(true, std::memory_order_release);
    loss_count.fetch_add(1, std::memory_order_release);
    if (!put_zeros(address / page_bytes * page_bytes, end)) break;
    errno = saved;
    return;
  }
  errno = saved;
  hand_on(signal, info, context);
}

void install_handler() {
  page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;  // threads may fault at once
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &before);
}

}  // namespace

WatchedPages::WatchedPages(std::span<const std::byte> mapping) {
  static std::once_flag installed;
  std::call_once(installed, install_handler);
  const std::lock_guard lock(slots_mutex);
  const auto free = std::ranges::find_if(slots, [](const Slot& slot) { return slot.begin == 0; });
  if (free == slots.end()) {
    throw Error(fmt::format("more than {} files are mapped at once", kSlots));
  }
  slot_ = static_cast<std::size_t>(free - slots.begin());
  slots_used = std::max(slots_used.load(), slot_ + 1);
  const auto begin = reinterpret_cast<std::uintptr_t>(mapping.data());
  free->lost = false;
  free->end = begin + mapping.size();
  free->begin.store(begin, std::memory_order_release);
}

WatchedPages::~WatchedPages() {
  slots[slot_].begin.store(0, std::memory_order_release);
}

bool WatchedPages::lost() const noexcept {
  return slots[slot_].lost.load(std::memory_order_acquire);
}

std::uint64_t WatchedPages::losses() noexcept {
  return loss_count.load(std::memory_order_acquire);
}

bool WatchedPages::lost_at(const std::byte* address) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  return std::ranges::any_of(std::span(slots).first(slots_used), [at](const Slot& slot) {
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    return begin != 0 && at >= begin && at < slot.end.load(std::memory_order_relaxed) &&
           slot.lost.load(std::memory_order_acquire);
  });
}

}  // namespace fathom::engine
