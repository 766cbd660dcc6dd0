// Progress and stops of a prefill, and tokens beside one.
#include "ui/commands/bench_waits.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fathom::ui {
namespace {

using engine::Session;
using engine::Token;
using Clock = std::chrono::steady_clock;

constexpr int kStops = 10;

double seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// Requests a stop after `delay`, unless it is gone before.
class Stopper {
 public:
  explicit Stopper(Clock::duration delay)
      : thread_([this, delay] {
          std::unique_lock lock(mutex_);
          if (ended_.wait_for(lock, delay, [this] { return gone_; })) return;
          requested_ = Clock::now();
          stop_.request_stop();
        }) {}
  ~Stopper() {
    {
      const std::lock_guard lock(mutex_);
      gone_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

  std::stop_token token() const { return stop_.get_token(); }
  // When the stop was requested; before that, the clock's beginning.
  Clock::time_point requested() {
    const std::lock_guard lock(mutex_);
    return requested_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool gone_ = false;              // guarded by mutex_
  Clock::time_point requested_{};  // guarded by mutex_
  std::stop_source stop_;
  std::thread thread_;
};

// Of each token, ascending.
std::vector<double> token_seconds(const Session& filled, std::span<const Token> tokens) {
  Session session = filled.fork();
  std::vector<double> took;
  for (const Token token : tokens) {
    const auto start = Clock::now();
    session.append(token);
    took.push_back(seconds(Clock::now() - start));
  }
  std::ranges::sort(took);
  return took;
}

// Reads a prompt again and again in a thread of its own, until it goes.
class Reader {
 public:
  Reader(const Session& filled, std::span<const Token> prompt)
      : thread_([prompt, session = filled.fork()](const std::stop_token& stop) mutable {
          const auto start = static_cast<int>(session.tokens().size());
          while (!stop.stop_requested()) {
            session.sync(prompt, {}, stop);
            session.truncate(start);
          }
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace

BenchWaits measure_waits(const Session& filled, std::span<const Token> prompt) {
  BenchWaits waits;
  const auto start = Clock::now();
  auto last = start;
  const auto report = [&](int, int) {
    const auto now = Clock::now();
    waits.between_reports_s = std::max(waits.between_reports_s, seconds(now - last));
    last = now;
  };
  Session whole = filled.fork();
  whole.sync(prompt, report, {});
  report(0, 0);
  const Clock::duration total = last - start;

  for (int i = 0; i < kStops; ++i) {
    Session session = filled.fork();
    Stopper stopper(total * (2 * i + 1) / (2 * kStops));
    session.sync(prompt, {}, stopper.token());
    const auto end = Clock::now();
    const auto requested = stopper.requested();
    if (requested == Clock::time_point{}) continue;
    ++waits.stops;
    waits.to_stop_s = std::max(waits.to_stop_s, seconds(end - requested));
  }
  return waits;
}

void print_waits(const BenchWaits& waits, int count, int depth, bool json) {
  if (json) {
    const nlohmann::ordered_json line = {{"p", count},
                                         {"d", depth},
                                         {"between_reports_s", waits.between_reports_s},
                                         {"to_stop_s", waits.to_stop_s},
                                         {"stops", waits.stops}};
    fmt::print("{}\n", line.dump());
  } else {
    fmt::print("{:<14} {:>8} {:.2f} s between reports, {:.2f} s to stop, at most ({} stops)\n",
               fmt::format("waits {}", count), depth, waits.between_reports_s, waits.to_stop_s,
               waits.stops);
  }
  std::fflush(stdout);
}

TokenWaits measure_token_waits(const Session& filled, std::span<const Token> tokens,
                               std::span<const Token> prompt) {
  const std::vector<double> alone = token_seconds(filled, tokens);
  const Reader reader(filled, prompt);
  const std::vector<double> beside = token_seconds(filled, tokens);
  return {.alone = alone[alone.size() / 2],
          .median = beside[beside.size() / 2],
          .p95 = beside[beside.size() * 95 / 100],
          .longest = beside.back()};
}

void print_token_waits(const TokenWaits& waits, int count, int depth, bool json) {
  if (json) {
    const nlohmann::ordered_json line = {{"n", count},
                                         {"d", depth},
                                         {"token_alone_s", waits.alone},
                                         {"token_beside_prefill_s", waits.median},
                                         {"token_p95_s", waits.p95},
                                         {"token_longest_s", waits.longest}};
    fmt::print("{}\n", line.dump());
  } else {
    fmt::print(
        "{:<14} {:>8} {:.1f} ms a token alone; beside a prompt {:.2f} times that, p95 {:.2f}, "
        "longest {:.2f}\n",
        fmt::format("waits {}", count), depth, waits.alone * 1e3, waits.median / waits.alone,
        waits.p95 / waits.alone, waits.longest / waits.alone);
  }
  std::fflush(stdout);
}

}  // namespace fathom::ui
