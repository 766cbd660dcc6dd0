// Claims, spins and sleeps of the workers.
#include "engine/cpu/thread_pool.h"

#include <cassert>
#include <system_error>

#include <immintrin.h>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::engine::cpu {
namespace {

constexpr int kTaskBits = 20;
constexpr std::uint64_t kTaskMask = (std::uint64_t{1} << kTaskBits) - 1;

// About 30 microseconds: longer than the gap between two operations of a decode, shorter than what
// a sleep and a wake-up cost together several times over.
constexpr int kSpins = 1500;

std::uint64_t next_of(std::uint64_t state) noexcept {
  return state & kTaskMask;
}
std::uint64_t tasks_of(std::uint64_t state) noexcept {
  return (state >> kTaskBits) & kTaskMask;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  try {
    for (int worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { work(worker); });
    }
  } catch (const std::system_error& refused) {
    const std::size_t started = workers_.size() + 1;
    end();
    throw Error(fmt::format("{} threads are wanted and {} could be started ({}): ask for fewer",
                            threads, started, refused.what()));
  }
}

ThreadPool::~ThreadPool() {
  end();
}

void ThreadPool::end() noexcept {
  ending_ = true;
  ++wake_;
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::start(int tasks, Call call, void* context) noexcept {
  assert(tasks <= kTasksMax);
  call_ = call;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  const std::uint64_t generation = (state_.load(std::memory_order_relaxed) >> 2 * kTaskBits) + 1;
  state_.store(generation << 2 * kTaskBits | static_cast<std::uint64_t>(tasks) << kTaskBits);

  // Sequentially consistent with the worker's own announcement: either it sees the job before it
  // sleeps or we see it sleeping.
  if (sleeping_.load() > 0) {
    ++wake_;
    wake_.notify_all();
  }
  while (run_one(0)) {
  }
  for (int spins = 0; done_.load(std::memory_order_acquire) != tasks; ++spins) {
    if (spins < kSpins) {
      _mm_pause();
    } else {
      std::this_thread::yield();  // The worker may wait for this very core.
    }
  }
}

bool ThreadPool::has_task() const noexcept {
  const std::uint64_t state = state_.load();
  return next_of(state) < tasks_of(state);
}

bool ThreadPool::run_one(int worker) noexcept {
  std::uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if (next_of(state) >= tasks_of(state)) return false;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel,
                                         std::memory_order_acquire));
  call_(context_, static_cast<int>(next_of(state)), worker);
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

void ThreadPool::work(int worker) noexcept {
  int idle = 0;
  while (!ending_.load(std::memory_order_relaxed)) {
    if (run_one(worker)) {
      idle = 0;
      continue;
    }
    if (++idle < kSpins) {
      _mm_pause();
      continue;
    }
    idle = 0;
    const std::uint32_t before = wake_.load();
    ++sleeping_;
    if (!has_task() && !ending_) wake_.wait(before);
    --sleeping_;
  }
}

}  // namespace fathom::engine::cpu
