// `fathom sandbox`.
#include "ui/commands/sandbox.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "sandbox/error.h"
#include "sandbox/policy.h"
#include "sandbox/run.h"

namespace fathom::ui {
namespace {

constexpr int kExitNotRun = 125;

sandbox::Policy policy_of(const SandboxOptions& options) {
  sandbox::Policy policy;
  policy.profile = options.profile == "read-only" ? sandbox::Profile::read_only
                                                  : sandbox::Profile::workspace_write;
  policy.workspace = options.workspace;
  policy.read_roots = options.read_folders;
  policy.write_roots = options.write_folders;
  policy.limits = options.limits;
  return policy;
}

// Turns SIGTERM, SIGINT and SIGHUP into a stop request while it lives.
class SignalsAsStop {
 public:
  SignalsAsStop() {
    sigset_t ours;
    ::sigemptyset(&ours);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&ours, number);
    ::pthread_sigmask(SIG_BLOCK, &ours, nullptr);
    signals_ = ::signalfd(-1, &ours, SFD_CLOEXEC);
    done_ = ::eventfd(0, EFD_CLOEXEC);
    waiter_ = std::thread([this] { wait(); });
  }
  ~SignalsAsStop() {
    ::eventfd_write(done_, 1);
    waiter_.join();
    ::close(signals_);
    ::close(done_);
  }
  SignalsAsStop(const SignalsAsStop&) = delete;
  SignalsAsStop& operator=(const SignalsAsStop&) = delete;

  std::stop_token token() const { return stop_.get_token(); }

 private:
  void wait() {
    std::array<pollfd, 2> ends = {{{signals_, POLLIN, 0}, {done_, POLLIN, 0}}};
    while (::poll(ends.data(), ends.size(), -1) < 0 && errno == EINTR) {
    }
    if (ends[0].revents != 0) stop_.request_stop();
  }

  std::stop_source stop_;
  int signals_ = -1;
  int done_ = -1;
  std::thread waiter_;
};

void explain(const sandbox::Exit& exit) {
  if (!exit.sentence.empty()) fmt::print(stderr, "fathom: {}\n", exit.sentence);
  for (const sandbox::Denial& denial : exit.denied) {
    fmt::print(stderr, "fathom: {}{}\n", denial.sentence,
               denial.count > 1 ? fmt::format(" ({} times)", denial.count) : "");
  }
}

int exec(const SandboxOptions& options) {
  const SignalsAsStop signals;
  const auto status = [&](std::string_view line) {
    if (options.status_fd < 0) return;
    while (!line.empty()) {
      const ssize_t wrote = ::write(options.status_fd, line.data(), line.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return;
      line.remove_prefix(static_cast<std::size_t>(wrote));
    }
  };
  const sandbox::Exit exit =
      sandbox::run({.argv = options.command, .directory = {}}, policy_of(options),
                   sandbox::Streams{}, status, signals.token());
  if (options.explain) explain(exit);
  // Whoever runs by hand must learn that files are gone from where the command put them.
  for (const sandbox::SetAside& each : exit.planted) {
    fmt::print(stderr, "fathom: {} is a protected name; what was made there is now {}\n", each.path,
               each.kept.string());
  }
  return exit.code;
}

const char* state_name(sandbox::Layer::State state) {
  switch (state) {
    case sandbox::Layer::State::works:
      return "works";
    case sandbox::Layer::State::missing:
      return "missing";
    case sandbox::Layer::State::not_reached:
      return "not reached";
  }
  return "";
}

int doctor(const SandboxOptions& options) {
  const std::vector<sandbox::Layer> layers = sandbox::examine(policy_of(options));
  bool usable = true;
  nlohmann::ordered_json rows = nlohmann::json::array();
  for (const sandbox::Layer& layer : layers) {
    usable = usable && layer.state != sandbox::Layer::State::not_reached;
    rows.push_back({{"layer", layer.name},
                    {"state", state_name(layer.state)},
                    {"why", layer.why},
                    {"remedy", layer.remedy}});
    if (options.json) continue;
    fmt::print("{:<18} {:<11} {}\n", layer.name, state_name(layer.state), layer.why);
    if (!layer.remedy.empty()) fmt::print("{:<30} {}\n", "", layer.remedy);
  }
  if (options.json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"usable", usable}, {"layers", rows}}.dump());
  } else {
    fmt::print("{}\n", usable ? "Commands can be isolated here."
                              : "Commands cannot be isolated here, so none will be run.");
  }
  return usable ? 0 : kExitNotRun;
}

}  // namespace

int sandbox(const SandboxOptions& options) {
  try {
    if (options.action == "exec") return exec(options);
    if (options.action == "doctor") return doctor(options);
    fmt::print("{}\n", sandbox::policy_json(policy_of(options)));
    return 0;
  } catch (const sandbox::Error& error) {
    fmt::print(stderr, "fathom: {}\n", error.what());
    return kExitNotRun;
  }
}

}  // namespace fathom::ui
