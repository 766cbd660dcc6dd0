// PromptWatch: ends a command that waits for input nobody can give.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

namespace fathom::tools {

// Whether an unfinished last line looks like a question: "Password:", "Continue? [y/N] ", ">>> ".
// "Compiling: " is none.
bool looks_like_prompt(std::string_view line);

// Watches the output of one command on a thread of its own. Requests a stop when `silence` passes
// with nothing behind a prompt, and passes on the stop of the turn.
class PromptWatch {
 public:
  PromptWatch(std::chrono::milliseconds silence, std::stop_token turn);
  ~PromptWatch();
  PromptWatch(const PromptWatch&) = delete;
  PromptWatch& operator=(const PromptWatch&) = delete;

  // Output as it arrives, already clean.
  void saw(std::string_view text);

  // For the command.
  std::stop_token token() const noexcept { return command_.get_token(); }

  // Whether it was this that stopped the command.
  bool stopped() const;

 private:
  using Clock = std::chrono::steady_clock;

  void watch(std::stop_token done);

  std::chrono::milliseconds silence_;  // constant after construction
  std::stop_source command_;
  std::stop_callback<std::function<void()>> on_turn_stop_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::string line_;          // the last line so far; guarded by mutex_, as all below
  Clock::time_point last_{};  // when something was seen
  bool stopped_ = false;

  std::jthread thread_;  // last: ends before what it uses
};

}  // namespace fathom::tools
