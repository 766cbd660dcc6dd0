// One row per layer, in the order of building.
#include "sandbox/layers.h"

#include <algorithm>
#include <array>

namespace fathom::sandbox {
namespace {

struct Row {
  const char* name;
  const char* reported;  // what a call that has it reports, up to a version
  const char* purpose;
  const char* lacking;  // what it means when a call runs without it; null: no call does
  const char* remedy;
};

constexpr std::array<Row, 13> kRows = {{
    {"user-namespace", "user-namespace", "no rights over the machine", nullptr, ""},
    {"mount-namespace", "mount-namespace", "only the policy's folders exist", nullptr, ""},
    {"pid-namespace", "pid-namespace", "host processes out of reach; nothing survives", nullptr,
     ""},
    {"network-namespace", "network-namespace", "no network but loopback", nullptr, ""},
    {"ipc-namespace", "ipc-namespace", "no shared memory with the host", nullptr, ""},
    {"uts-namespace", "uts-namespace", "a host name of its own", nullptr, ""},
    {"cgroup-namespace", "cgroup-namespace", "control groups hidden", nullptr, ""},
    {"capabilities", "no-capabilities", "no capability in any namespace", nullptr, ""},
    {"landlock", "landlock-", "second lock on file writes, signals, abstract sockets",
     "writes are confined by mounts alone",
     "use a kernel with Landlock ABI 3 (Linux 6.2) or newer"},
    {"seccomp", "seccomp", "system calls by allow-list", nullptr, ""},
    {"seccomp-notify", "seccomp-notify", "refused calls are named in reports",
     "refused calls are not named in reports", "use a kernel with seccomp user notification"},
    {"memory-cgroup", "memory-cgroup", "memory limited by the kernel",
     "the memory limit is approximate, checked every 25 ms; memfd_create is not available",
     "run where a memory control group can be made"},
    {"pids-cgroup", "pids-cgroup", "processes counted by the kernel",
     "processes are limited by RLIMIT_NPROC and the pid namespace", ""},
}};

}  // namespace

std::vector<Layer> describe_layers(const std::vector<std::string>& reported) {
  std::vector<Layer> layers;
  for (const Row& row : kRows) {
    const auto found = std::ranges::find_if(reported, [&](const std::string& layer) {
      const std::string_view expected = row.reported;
      return expected.ends_with('-') ? layer.starts_with(expected) : layer == expected;
    });
    if (found != reported.end()) {
      layers.push_back({row.name, Layer::State::works, *found + ": " + row.purpose, ""});
    } else {
      const char* why = row.lacking == nullptr ? "not reported" : row.lacking;
      layers.push_back({row.name, Layer::State::missing, why, row.remedy});
    }
  }
  return layers;
}

std::vector<Layer> describe_failure(const std::string& layer, const std::string& why) {
  std::vector<Layer> layers;
  bool reached = true;
  const bool known = std::ranges::any_of(kRows, [&](const Row& row) { return layer == row.name; });
  if (!known) {
    layers.push_back({layer, Layer::State::missing, why, ""});
    reached = false;
  }
  for (const Row& row : kRows) {
    if (layer == row.name) {
      layers.push_back({row.name, Layer::State::missing, why, row.remedy});
      reached = false;
    } else if (reached) {
      layers.push_back({row.name, Layer::State::works, row.purpose, ""});
    } else {
      layers.push_back({row.name, Layer::State::not_reached, row.purpose, ""});
    }
  }
  return layers;
}

}  // namespace fathom::sandbox
