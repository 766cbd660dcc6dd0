// A stop that comes from outside or from the clock, whichever is first.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace fathom::agent {

class Deadline {
 public:
  // `seconds` 0: no clock. `outer` also stops it.
  Deadline(double seconds, std::stop_token outer);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  std::stop_token token() const noexcept { return source_.get_token(); }
  bool stopped() const noexcept { return source_.stop_requested(); }
  bool time_is_up() const noexcept;  // the clock stopped it, nobody else had

 private:
  std::stop_source source_;
  std::stop_token outer_;
  std::stop_callback<std::function<void()>> forward_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  bool time_is_up_ = false;  // guarded by mutex_
  std::jthread clock_;       // last: it uses the rest
};

}  // namespace fathom::agent
