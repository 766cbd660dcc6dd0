// One loop over everything that can happen to a call.
#include "sandbox/linux/supervisor.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>
#include <optional>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/linux/cgroup.h"
#include "sandbox/linux/launch.h"
#include "sandbox/linux/layout.h"
#include "sandbox/linux/listener.h"
#include "sandbox/linux/messages.h"
#include "sandbox/linux/relay.h"
#include "sandbox/linux/sentences.h"
#include "sandbox/linux/status.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

// Between SIGTERM and SIGKILL when a call is cancelled. A little under the two seconds after which
// every process is promised to be gone.
constexpr Milliseconds kGrace{1900};
// A call that ran out of time has had its time.
constexpr Milliseconds kGraceAfterTimeout{500};

struct Pipe {
  Descriptor read, write;
};

std::optional<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
}

class Supervisor {
 public:
  Supervisor(const Plan& plan, const Missing& missing) : plan_(plan), missing_(missing) {}

  int run() {
    if (auto failure = start()) return not_run(*failure);
    while (!is_over()) turn();
    return report();
  }

 private:
  // --- starting

  std::optional<SetupFailure> start() {
    block_signals();
    if (!missing_.has("memory-cgroup")) memory_.emplace("memory", plan_.limits.memory_bytes);
    // One more than the command may have: init.
    if (!missing_.has("pids-cgroup")) processes_.emplace("pids", plan_.limits.processes + 1);
    Ids ids;
    if (auto failure = choose_ids(plan_, ids)) return failure;
    auto failure = start_as(ids);
    if (failure && failure->layer == "id-mapped-mount" && ids.inside != 0) {
      // The file system cannot map owners: the command gets the owner's own rights instead.
      ids.outside = ids.inside;
      ids.outside_group = ids.inside_group;
      ids.idmapped = false;
      failure = start_as(ids);
    }
    if (failure) return failure;
    ::prctl(PR_SET_DUMPABLE, 0);
    workspace_.reset(::open(plan_.workspace.c_str(), O_PATH | O_CLOEXEC));
    free_before_ = free_bytes();
    began_ = Clock::now();
    deadline_ = began_ + Milliseconds(static_cast<std::int64_t>(plan_.limits.seconds * 1000));
    return std::nullopt;
  }

  std::optional<SetupFailure> start_as(const Ids& ids) {
    auto input = make_pipe();
    auto output = make_pipe();
    auto error = plan_.merge_streams ? std::optional<Pipe>() : make_pipe();
    if (!input || !output || (!plan_.merge_streams && !error)) {
      return SetupFailure{"streams", errno, "pipe"};
    }
    Jail jail{.plan = plan_,
              .missing = missing_,
              .ids = ids,
              .layout = make_layout(plan_, ids),
              .argv = StringList(plan_.argv),
              .environment = StringList(plan_.environment),
              .programs = find_programs(plan_),
              .input = input->read.get(),
              .output = output->write.get(),
              .error = error ? error->write.get() : output->write.get(),
              .umask = ::umask(022),
              .watch_memory = !counts(memory_),
              .watch_processes = !counts(processes_),
              .notify = !missing_.has("notify")};
    auto failure = launch(jail, counts(memory_) ? &*memory_ : nullptr,
                          counts(processes_) ? &*processes_ : nullptr, child_);
    ::umask(jail.umask);
    if (failure) return failure;
    relays_.clear();
    relays_.push_back(Relay::to_pipe(0, std::move(input->write)));
    relays_.push_back(Relay::from_pipe(std::move(output->read), 1));
    if (error) relays_.push_back(Relay::from_pipe(std::move(error->read), 2));
    return std::nullopt;
  }

  static bool counts(const std::optional<Cgroup>& group) { return group && group->is_there(); }

  void block_signals() {
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t ours;
    ::sigemptyset(&ours);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGCHLD}) {
      ::sigaddset(&ours, number);
    }
    ::sigprocmask(SIG_BLOCK, &ours, nullptr);
    ::sigdelset(&ours, SIGCHLD);
    signals_.reset(::signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  int not_run(const SetupFailure& failure) {
    StatusLine("setup-failed")
        .text("layer", failure.layer)
        .number("errno", failure.error)
        .text("say", say(failure))
        .texts("layers", layers_)
        .send(kStatusDescriptor, /*last=*/true);
    return kExitNotRun;
  }

  // --- one turn of the loop

  // Over when process 1 is gone, and with it every other, and all output is delivered.
  bool is_over() const {
    if (!dead_) return false;
    if (agent_gone_ || undeliverable_) return true;
    return std::all_of(relays_.begin() + 1, relays_.end(), [](const Relay& relay) {
      pollfd unused{};
      return !relay.wants(unused);
    });
  }

  void turn() {
    std::array<pollfd, 8> ends{};
    ends[0] = {child_.control.get(), POLLIN, 0};
    ends[1] = {dead_ ? -1 : child_.pidfd.get(), POLLIN, 0};
    ends[2] = {agent_gone_ ? -1 : kLifelineDescriptor, POLLIN, 0};
    ends[3] = {signals_.get(), POLLIN, 0};
    ends[4] = {listener_.descriptor(), POLLIN, 0};
    for (std::size_t i = 0; i < relays_.size(); ++i) {
      if (!relays_[i].wants(ends[5 + i])) ends[5 + i].fd = -1;
    }
    if (dead_) ends[5].fd = -1;  // nobody reads the input any more
    ::poll(ends.data(), ends.size(), kWatchPeriodMs);

    if (ends[0].revents != 0) hear();
    if (ends[4].revents != 0) answer(ends[4].revents);
    for (std::size_t i = 0; i < relays_.size(); ++i) count(i, relays_[i].move(ends[5 + i]));
    if (ends[2].revents != 0) lose_agent();
    if (ends[3].revents != 0) take_signal();
    if (ends[1].revents != 0) bury();
    if (!dead_) check_limits();
  }

  // Takes one message; false, and the socket closed, if the inside has said its last.
  bool hear() {
    Message message;
    std::array<int, kPassedMax> passed{};
    int count = 0;
    if (!receive_message(child_.control.get(), message, passed.data(), &count)) {
      child_.control.reset();
      return false;
    }
    obey(message, count == 1 ? passed[0] : -1);
    return true;
  }

  void obey(const Message& message, int passed) {
    switch (message.kind) {
      case Message::Kind::failed:
        if (!failure_) failure_ = SetupFailure{message.layer, message.number, message.text};
        kill_now();
        break;
      case Message::Kind::listener:
        listener_.start(Descriptor(passed));
        break;
      case Message::Kind::started:
        if (!failure_) announce(message.number);
        break;
      case Message::Kind::not_executable:
        not_executable_ = message.number;
        break;
      case Message::Kind::unreachable:
        StatusLine("denied")
            .text("call", "connect")
            .number("count", message.number)
            .text("say", say_unreachable())
            .send(kStatusDescriptor);
        break;
      case Message::Kind::exited:
        status_ = message.number;
        break;
      case Message::Kind::memory:
        end_by("limit:memory");
        break;
      case Message::Kind::processes:
        end_by("limit:pids");
        break;
      case Message::Kind::go:
      case Message::Kind::limited:
      case Message::Kind::terminate:
        break;
    }
  }

  void announce(int landlock) {
    layers_ = {"user-namespace", "mount-namespace", "pid-namespace",    "network-namespace",
               "ipc-namespace",  "uts-namespace",   "cgroup-namespace", "no-capabilities"};
    layers_.push_back(landlock > 0 ? "landlock-" + std::to_string(landlock) : "without-landlock");
    layers_.emplace_back("seccomp");
    layers_.emplace_back(listener_.descriptor() >= 0 ? "seccomp-notify" : "without-notify");
    layers_.emplace_back(counts(memory_) ? "memory-cgroup" : "memory-watch");
    layers_.emplace_back(counts(processes_) ? "pids-cgroup" : "pids-watch");
    StatusLine("started")
        .number("pid", child_.pid)
        .text("profile",
              profile_name(plan_.writable ? Profile::workspace_write : Profile::read_only))
        .texts("layers", layers_)
        .send(kStatusDescriptor);
  }

  void answer(short events) {
    if ((events & POLLIN) != 0) {
      listener_.answer();
    } else {
      listener_.start(Descriptor());  // no process is left that could ask
    }
  }

  // The first relay is the input, whose bytes are nobody's limit.
  void count(std::size_t relay, std::int64_t bytes) {
    if (relay == 0 || bytes == 0) return;
    output_bytes_ += bytes;
    const std::int64_t left = std::max<std::int64_t>(plan_.limits.output_bytes - output_bytes_, 0);
    for (std::size_t i = 1; i < relays_.size(); ++i) relays_[i].limit(left);
    if (output_bytes_ > plan_.limits.output_bytes) end_by("limit:output");
  }

  void lose_agent() {
    agent_gone_ = true;
    end_by("agent-gone");
  }

  // A second signal means at once. A terminal's Ctrl-C reaches us twice, by itself and passed on
  // by the agent, within moments.
  void take_signal() {
    signalfd_siginfo taken{};
    while (::read(signals_.get(), &taken, sizeof taken) > 0) {
    }
    undeliverable_ = dead_;
    if (by_ == nullptr) {
      terminate("cancel", kGrace);
      signalled_ = Clock::now();
    } else if (Clock::now() - signalled_ > Milliseconds(200)) {
      kill_now();
    }
  }

  void bury() {
    // What process 1 said before it died is still in the socket.
    while (child_.control && hear()) {
    }
    ::wait4(child_.pid, nullptr, 0, &usage_);
    dead_ = true;
  }

  void check_limits() {
    const auto now = Clock::now();
    if (now >= deadline_ && by_ == nullptr) terminate("limit:time", kGraceAfterTimeout);
    if (now >= kill_at_) kill_now();
    if (now < next_check_) return;
    next_check_ = now + Milliseconds(kWatchPeriodMs);
    if (memory_ && memory_->exceeded()) end_by("limit:memory");
    if (processes_ && processes_->exceeded()) end_by("limit:pids");
    if (plan_.writable && free_before_ - free_bytes() > plan_.limits.disk_bytes) {
      end_by("limit:disk");
    }
  }

  // --- ending

  void end_by(const char* reason) {
    if (by_ == nullptr || std::strcmp(by_, "cancel") == 0) by_ = reason;
    kill_now();
  }

  void terminate(const char* reason, Milliseconds grace) {
    by_ = reason;
    kill_at_ = Clock::now() + grace;
    send_message(child_.control.get(), {.kind = Message::Kind::terminate});
  }

  void kill_now() {
    if (!dead_) ::syscall(SYS_pidfd_send_signal, child_.pidfd.get(), SIGKILL, nullptr, 0);
  }

  // Growth is measured where the workspace lies: an upper bound, for others write there too.
  std::int64_t free_bytes() const {
    struct statvfs status {};
    if (::fstatvfs(workspace_.get(), &status) != 0) return 0;
    return static_cast<std::int64_t>(status.f_bfree) * static_cast<std::int64_t>(status.f_frsize);
  }

  int report() {
    if (failure_) return not_run(*failure_);
    // The last refusal may have come after the last look.
    if (by_ == nullptr && memory_ && memory_->exceeded()) by_ = "limit:memory";
    if (by_ == nullptr && processes_ && processes_->exceeded()) by_ = "limit:pids";
    if (by_ == nullptr && !status_ && !not_executable_) {
      return not_run({"pid-namespace", ECHILD, "process 1 was killed from outside"});
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    int signal = 0;
    StatusLine line("exit");
    line.number("code", exit_code(signal)).number("signal", signal);
    line.text("by", by_ == nullptr ? "command" : by_);
    if (not_executable_) line.text("say", why_not_executable());
    line.seconds("seconds", seconds).number("output_bytes", output_bytes_);
    line.number("memory_peak_kib", usage_.ru_maxrss);
    line.send(kStatusDescriptor, /*last=*/true);
    return kExitDone;
  }

  int exit_code(int& signal) const {
    if (by_ != nullptr && std::strncmp(by_, "limit:", 6) == 0) return 124;
    if (not_executable_) return *not_executable_ == ENOENT ? 127 : 126;
    if (!status_) return 128 + (signal = SIGKILL);
    if (WIFSIGNALED(*status_)) return 128 + (signal = WTERMSIG(*status_));
    return WEXITSTATUS(*status_);
  }

  std::string why_not_executable() const {
    return plan_.argv.front() + ": " + std::strerror(*not_executable_) + ".";
  }

  const Plan& plan_;
  const Missing& missing_;
  std::optional<Cgroup> memory_;
  std::optional<Cgroup> processes_;
  Descriptor signals_;
  Descriptor workspace_;
  Child child_;
  Listener listener_;
  std::vector<Relay> relays_;  // input, output, and error unless merged
  std::vector<std::string> layers_;

  std::int64_t free_before_ = 0;
  std::int64_t output_bytes_ = 0;
  Clock::time_point began_, deadline_, next_check_, signalled_;
  Clock::time_point kill_at_ = Clock::time_point::max();

  std::optional<SetupFailure> failure_;
  std::optional<int> not_executable_;  // errno
  std::optional<int> status_;          // the command's wait status
  const char* by_ = nullptr;           // null: the command ended by itself
  bool dead_ = false;
  bool agent_gone_ = false;
  bool undeliverable_ = false;
  rusage usage_{};
};

}  // namespace

int supervise(const Plan& plan, const Missing& missing) {
  return Supervisor(plan, missing).run();
}

}  // namespace fathom::sandbox
