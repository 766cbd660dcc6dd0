// The agent's side of a call: starts the helper, listens to it, takes away what was planted.
#include "sandbox/run.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <optional>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "sandbox/error.h"
#include "sandbox/guards.h"
#include "sandbox/helper_process.h"
#include "sandbox/layers.h"
#include "sandbox/make_plan.h"
#include "sandbox/set_aside.h"

namespace fathom::sandbox {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::pair<Exit::By, const char*>, 8> kByNames = {{
    {Exit::By::command, "command"},
    {Exit::By::memory, "limit:memory"},
    {Exit::By::processes, "limit:pids"},
    {Exit::By::disk, "limit:disk"},
    {Exit::By::output, "limit:output"},
    {Exit::By::time, "limit:time"},
    {Exit::By::cancel, "cancel"},
    {Exit::By::agent_gone, "agent-gone"},
}};

std::string bytes_text(std::int64_t bytes) {
  if (bytes >= kGiB) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / kGiB);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / kMiB);
}

std::string sentence_for(Exit::By by, const Limits& limits) {
  switch (by) {
    case Exit::By::command:
      return {};
    case Exit::By::memory:
      return fmt::format("The command was stopped because it used more than {} of memory.",
                         bytes_text(limits.memory_bytes));
    case Exit::By::processes:
      return fmt::format("The command was stopped because it ran more than {} processes.",
                         limits.processes);
    case Exit::By::disk:
      return fmt::format("The command was stopped because the disk filled by more than {}.",
                         bytes_text(limits.disk_bytes));
    case Exit::By::output:
      return fmt::format("The command was stopped because it wrote more than {} of output.",
                         bytes_text(limits.output_bytes));
    case Exit::By::time:
      return fmt::format("The command was stopped after {:g} s.", limits.seconds);
    case Exit::By::cancel:
      return "The command was cancelled.";
    case Exit::By::agent_gone:
      return "The command was stopped because the agent was gone.";
  }
  return {};
}

// What the status channel has said so far.
class Listening {
 public:
  void take(std::string_view line) {
    const Json event = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return;
    const std::string kind = event.value("ev", "");
    if (kind == "started") exit_.layers = event.value("layers", std::vector<std::string>());
    if (kind == "denied") add_denial(event);
    if (kind == "exit") take_exit(event);
    if (kind == "setup-failed") {
      failed_layer_ = event.value("layer", "");
      failure_ = event.value("say", "the sandbox could not be built");
    }
  }

  bool ended() const { return ended_; }
  const std::optional<std::string>& failure() const { return failure_; }
  const std::string& failed_layer() const { return failed_layer_; }
  Exit take_result() { return std::move(exit_); }

 private:
  void add_denial(const Json& event) {
    const std::string call = event.value("call", "");
    const int count = event.value("count", 1);
    for (Denial& known : exit_.denied) {
      if (known.call != call) continue;
      known.count += count;
      return;
    }
    exit_.denied.push_back({.call = call, .sentence = event.value("say", ""), .count = count});
  }

  void take_exit(const Json& event) {
    ended_ = true;
    exit_.code = event.value("code", 0);
    exit_.signal = event.value("signal", 0);
    exit_.seconds = event.value("seconds", 0.0);
    exit_.output_bytes = event.value("output_bytes", std::int64_t{0});
    exit_.sentence = event.value("say", "");
    const std::string by = event.value("by", "");
    for (const auto& [value, name] : kByNames) {
      if (by == name) exit_.by = value;
    }
  }

  Exit exit_;
  bool ended_ = false;
  std::string failed_layer_;
  std::optional<std::string> failure_;
};

// Cuts a stream into lines.
class Lines {
 public:
  template <typename Take>
  void feed(std::string_view bytes, Take take) {
    rest_ += bytes;
    for (std::size_t end = 0; (end = rest_.find('\n')) != std::string::npos;) {
      take(std::string_view(rest_).substr(0, end));
      rest_.erase(0, end + 1);
    }
  }

 private:
  std::string rest_;
};

// Reads what there is; false at the end of the stream.
template <typename Take>
bool read_some(int descriptor, Take take) {
  std::array<char, 65536> buffer;
  const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  take(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  return true;
}

int wait_for(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

struct Call {
  HelperProcess helper;
  Descriptor output;  // merged output to read, or none
  const Output* on_output = nullptr;
  const Output* on_status = nullptr;
};

// Listens until the helper has said everything and is gone.
Listening listen(Call call, const std::stop_token& stop) {
  Listening listening;
  Lines lines;
  const Descriptor stopped(::eventfd(0, EFD_CLOEXEC));
  const std::stop_callback wake(stop, [&] { ::eventfd_write(stopped.get(), 1); });
  while (call.helper.status || call.output) {
    std::array<pollfd, 3> ends = {{{call.helper.status.get(), POLLIN, 0},
                                   {call.output.get(), POLLIN, 0},
                                   {stopped.get(), POLLIN, 0}}};
    if (::poll(ends.data(), ends.size(), -1) < 0) continue;
    if (ends[2].revents != 0) {
      eventfd_t count = 0;
      ::eventfd_read(stopped.get(), &count);
      ::kill(call.helper.pid, SIGTERM);
    }
    if (ends[1].revents != 0 && !read_some(call.output.get(), *call.on_output)) {
      call.output.reset();
    }
    const auto take = [&](std::string_view bytes) {
      lines.feed(bytes, [&](std::string_view line) {
        listening.take(line);
        if (call.on_status != nullptr && *call.on_status) {
          (*call.on_status)(std::string(line) + "\n");
        }
      });
    };
    if (ends[0].revents != 0 && !read_some(call.helper.status.get(), take)) {
      call.helper.status.reset();
    }
  }
  wait_for(call.helper.pid);
  return listening;
}

// Guards the names in every folder of the policy. `writable` receives what to compare with after
// the call, the workspace first.
Plan plan_call(const Command& command, const Policy& policy, std::vector<GuardedNames>& writable) {
  Plan plan = make_plan(command, policy);
  const auto guard = [&](const std::string& folder, bool is_writable) {
    if (!std::filesystem::is_directory(folder)) return;  // a single file may be read, too
    GuardedNames names = find_guarded_names(folder);
    // What is read-only as a whole needs no guard; but a socket can be used without writing.
    const auto needed = [&](const Guard& each) { return is_writable || each.socket; };
    std::ranges::copy_if(names.present, std::back_inserter(plan.guards), needed);
    if (is_writable) writable.push_back(std::move(names));
  };
  guard(plan.workspace, plan.writable);
  for (const std::string& folder : plan.write_roots) guard(folder, /*is_writable=*/true);
  for (const std::string& folder : plan.read_roots) guard(folder, /*is_writable=*/false);
  return plan;
}

// Paths of the workspace stay relative, those of other folders are whole.
std::vector<SetAside> take_away_planted(const std::vector<GuardedNames>& writable,
                                        const Policy& policy) {
  std::vector<SetAside> all;
  for (const GuardedNames& names : writable) {
    const bool is_workspace = &names == &writable.front();
    for (SetAside& each : set_aside(names.root, planted_since(names), policy.state)) {
      if (!is_workspace) each.path = names.root + "/" + each.path;
      all.push_back(std::move(each));
    }
  }
  return all;
}

Exit conclude(Listening listening, const Policy& policy,
              const std::vector<GuardedNames>& writable) {
  // Also when the call failed: whatever ran may have planted something.
  std::vector<SetAside> planted = take_away_planted(writable, policy);
  if (listening.failure()) throw Error(*listening.failure());
  if (!listening.ended()) {
    throw Error("fathom-sandbox ended without a report; it was killed from outside");
  }
  Exit exit = listening.take_result();
  exit.planted = std::move(planted);
  if (exit.by != Exit::By::command) exit.sentence = sentence_for(exit.by, policy.limits);
  return exit;
}

Listening run_merged(const Plan& plan, const Output& output, const std::stop_token& stop) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw Error("no pipe can be made");
  Call call{.helper = {}, .output = Descriptor(ends[0]), .on_output = &output};
  Descriptor write(ends[1]);
  const Descriptor empty(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  call.helper = start_helper(plan, {empty.get(), write.get(), write.get()});
  write.reset();
  return listen(std::move(call), stop);
}

}  // namespace

const char* by_name(Exit::By by) noexcept {
  for (const auto& [value, name] : kByNames) {
    if (value == by) return name;
  }
  return "command";
}

Exit run(const Command& command, const Policy& policy, const Output& output, std::stop_token stop) {
  std::vector<GuardedNames> writable;
  const Plan plan = plan_call(command, policy, writable);
  return conclude(run_merged(plan, output, stop), policy, writable);
}

Exit run(const Command& command, const Policy& policy, const Streams& streams, const Output& status,
         std::stop_token stop) {
  std::vector<GuardedNames> writable;
  Plan plan = plan_call(command, policy, writable);
  plan.merge_streams = false;
  Call call{.helper = start_helper(plan, streams), .output = {}, .on_status = &status};
  return conclude(listen(std::move(call), stop), policy, writable);
}

std::vector<Layer> examine(const Policy& policy) {
  std::vector<GuardedNames> writable;
  const Plan plan = plan_call({.argv = {"true"}, .directory = {}}, policy, writable);
  Listening listening = run_merged(plan, [](std::string_view) {}, {});
  if (!listening.failure()) return describe_layers(listening.take_result().layers);
  return describe_failure(listening.failed_layer(), *listening.failure());
}

}  // namespace fathom::sandbox
