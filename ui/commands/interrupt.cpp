// SIGINT, SIGTERM and SIGHUP as a stop request.
#include "ui/commands/interrupt.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace fathom::ui {
namespace {

// A handler gets no argument of ours, so the pipe and what was there before are global. Written
// before the handlers are installed, restored after.
constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
std::array<int, 2> pipe_ends = {-1, -1};
std::array<struct sigaction, kSignals.size()> before = {};

extern "C" void pass_on(int signal) {
  const int saved = errno;
  const auto byte = static_cast<unsigned char>(signal);
  static_cast<void>(::write(pipe_ends[1], &byte, 1));
  errno = saved;
}

}  // namespace

Interrupt::Interrupt() : signal_(SIGINT) {
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe for signals");
  struct sigaction action = {};
  action.sa_handler = pass_on;
  action.sa_flags = SA_RESTART;  // other threads' system calls go on
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before[i]);
    // Whoever starts us under nohup wants us to outlive the terminal.
    const bool kept = kSignals[i] == SIGHUP && before[i].sa_handler == SIG_IGN;
    if (!kept) ::sigaction(kSignals[i], &action, nullptr);
  }
  ::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write(), handled there
  thread_ = std::jthread([this] { listen(); });
}

Interrupt::~Interrupt() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before[i], nullptr);
  ::close(std::exchange(pipe_ends[1], -1));  // ends the thread
  thread_.join();
  ::close(std::exchange(pipe_ends[0], -1));
}

void Interrupt::last_words(std::function<void()> words) {
  const std::lock_guard lock(mutex_);
  last_words_ = std::move(words);
}

void Interrupt::listen() {
  unsigned char byte = 0;
  while (true) {
    const ssize_t count = ::read(pipe_ends[0], &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    if (!source_.stop_requested()) {
      signal_ = byte;
      source_.request_stop();
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (last_words_) last_words_();
    ::_exit(128 + byte);
  }
}

}  // namespace fathom::ui
