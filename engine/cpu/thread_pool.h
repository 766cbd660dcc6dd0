// A fixed set of threads that run the tasks of one operation after another.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace fathom::engine::cpu {

// The calling thread takes part as worker 0. Workers spin for some microseconds after a job, then
// sleep. A worker that the system keeps from running delays nobody: it holds no task until it
// claims one, and the others claim what is there.
class ThreadPool {
 public:
  // Throws Error if the system does not give so many threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) for every task in [0, tasks), in any order, on any worker, and returns
  // when all are done. Not reentrant; one caller at a time; the body must not throw.
  template <class Body>
  void run(int tasks, Body&& body) noexcept {
    if (tasks <= 1 || workers_.empty()) {
      for (int task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    start(
        tasks,
        [](void* context, int task, int worker) noexcept {
          (*static_cast<Plain*>(context))(task, worker);
        },
        &body);
  }

  // More would not fit the packed counter.
  static constexpr int kTasksMax = (1 << 20) - 1;

 private:
  using Call = void (*)(void* context, int task, int worker) noexcept;

  void end() noexcept;
  void start(int tasks, Call call, void* context) noexcept;
  bool run_one(int worker) noexcept;
  bool has_task() const noexcept;
  void work(int worker) noexcept;

  // Generation (24 bits), tasks of the job (20), next task (20) in one word: claiming a task is one
  // compare-and-swap that can only succeed for the job that is running now.
  std::atomic<std::uint64_t> state_{0};
  std::atomic<int> done_{0};
  Call call_ = nullptr;      // written before state_ is published, read after a claim
  void* context_ = nullptr;  // likewise

  std::atomic<std::uint32_t> wake_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> ending_{false};
  std::vector<std::thread> workers_;
};

}  // namespace fathom::engine::cpu
