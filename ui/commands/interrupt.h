// SIGINT, SIGTERM and SIGHUP as a stop request.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace fathom::ui {

// The first signal asks for a clean end. A second one means that it takes too long: `last_words`
// is called and the process ends with 128 + signal. The handlers only write to a pipe; everything
// else happens on a thread of this object. One per process.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();  // the signals do again what they did before
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const noexcept { return source_.get_token(); }
  void request_stop() noexcept { source_.request_stop(); }

  int signal() const noexcept { return signal_; }  // the first one; SIGINT if none came

  // Set it to nothing before what it uses is gone.
  void last_words(std::function<void()> words);

 private:
  void listen();

  std::stop_source source_;
  std::atomic<int> signal_;
  std::mutex mutex_;
  std::function<void()> last_words_;  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace fathom::ui
