// Process 1 of a call: builds the inside, starts the command, reaps, watches. When it ends, the
// kernel kills every process of its pid namespace, whatever they did to live on.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/linux/messages.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

// The clone copied every descriptor of the supervisor, the agent's own streams among them. 0-2 stay
// occupied, or a pipe made later would lie where the command's streams go.
void close_all_but_ours(const Jail& jail) noexcept {
  std::array<int, 4> kept = {jail.control, jail.input, jail.output, jail.error};
  std::ranges::sort(kept);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int number = 0; number < 3; ++number) {
    if (::dup2(nothing, number) < 0) ::_exit(125);
  }
  int next = 3;
  for (const int number : kept) {
    if (number > next) {
      ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(number - 1), 0);
    }
    next = number + 1;
  }
  ::close_range(static_cast<unsigned>(next), ~0U, 0);
}

// Waits until the ids are mapped. Returns how many trees came with the message.
int await_go(const Jail& jail, int* trees) noexcept {
  Message message;
  int count = 0;
  if (!receive_message(jail.control, message, trees, &count)) ::_exit(125);
  return count;
}

// Waits until what is forked from here on counts in the call's control groups. Joining them waits
// for a grace period of the kernel, several milliseconds, which the steps before are done in.
void await_limits(const Jail& jail) noexcept {
  Message message;
  if (!receive_message(jail.control, message)) ::_exit(125);
}

// The parent-death signal was asked for a moment ago; a supervisor that died before is seen here,
// because its end of the socket closes before the signal would have been sent.
void check_supervisor(const Jail& jail) noexcept {
  pollfd end{jail.control, 0, 0};
  if (::poll(&end, 1, 0) != 0) ::_exit(125);
}

pid_t start_command(const Jail& jail) noexcept {
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) fail(jail, "streams", "pipe");
  const pid_t command = ::fork();
  if (command < 0) fail(jail, "pid-namespace", "fork");
  if (command == 0) {
    ::close(report[0]);
    enter(jail, report[1]);
  }
  ::close(report[1]);
  int abi = 0;
  int error = 0;
  const bool confined = ::read(report[0], &abi, sizeof abi) == sizeof abi;
  const bool executed = ::read(report[0], &error, sizeof error) == 0;
  ::close(report[0]);
  // Without the first word the child has said itself what failed.
  if (!confined) ::_exit(125);
  send_message(jail.control, executed
                                 ? Message{.kind = Message::Kind::started, .number = abi}
                                 : Message{.kind = Message::Kind::not_executable, .number = error});
  return command;
}

void reap(const Jail& jail, pid_t command) noexcept {
  int status = 0;
  for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (ended != command) continue;
    const int unreachable = count_unreachable();
    if (unreachable > 0) {
      send_message(jail.control, {.kind = Message::Kind::unreachable, .number = unreachable});
    }
    send_message(jail.control, {.kind = Message::Kind::exited, .number = status});
    ::_exit(0);
  }
}

[[noreturn]] void serve(const Jail& jail, pid_t command) noexcept {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  const int signals = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fail(jail, "pid-namespace", "signalfd");
  const int period = jail.watch_memory || jail.watch_processes ? kWatchPeriodMs : -1;
  while (true) {
    reap(jail, command);
    pollfd ends[2] = {{jail.control, POLLIN, 0}, {signals, POLLIN, 0}};
    ::poll(ends, 2, period);
    signalfd_siginfo taken;
    while (::read(signals, &taken, sizeof taken) > 0) {
    }
    if (ends[0].revents != 0) {
      Message message;
      if (!receive_message(jail.control, message)) ::_exit(0);
      if (message.kind == Message::Kind::terminate) {
        ::kill(-1, SIGTERM);
        ::kill(-1, SIGCONT);  // a stopped process could not hear it
      }
    }
    if (period > 0) watch(jail);
  }
}

}  // namespace

void fail(const Jail& jail, const char* layer, const char* what) noexcept {
  Message message{.kind = Message::Kind::failed, .number = errno};
  std::snprintf(message.layer, sizeof message.layer, "%s", layer);
  std::snprintf(message.text, sizeof message.text, "%s", what);
  send_message(jail.control, message);
  ::_exit(125);
}

void run_init(Jail& jail) noexcept {
  close_all_but_ours(jail);
  int trees[kPassedMax];
  const int count = await_go(jail, trees);
  become_mapped(jail);
  check_supervisor(jail);
  build_root(jail, trees, count);
  name_host(jail);
  raise_loopback(jail);
  limit_namespaces(jail);
  freeze_settings(jail);
  limit_resources(jail);
  drop_capabilities(jail);
  await_limits(jail);
  const pid_t command = start_command(jail);
  ::close(jail.input);
  ::close(jail.output);
  if (jail.error != jail.output) ::close(jail.error);
  serve(jail, command);
}

}  // namespace fathom::sandbox
