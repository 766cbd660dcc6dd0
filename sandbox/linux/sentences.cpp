// Looks for the usual causes of a missing layer and names the one it found.
#include "sandbox/linux/sentences.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace fathom::sandbox {
namespace {

long long setting(const char* path, long long otherwise) {
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return otherwise;
  char text[32] = {};
  const ssize_t got = ::read(file, text, sizeof text - 1);
  ::close(file);
  return got > 0 ? std::atoll(text) : otherwise;
}

bool in_container() {
  return ::access("/.dockerenv", F_OK) == 0 || ::access("/run/.containerenv", F_OK) == 0;
}

std::string cause_of_namespaces() {
  if (setting("/proc/sys/user/max_user_namespaces", 1) == 0) {
    return "The setting user.max_user_namespaces is 0; "
           "`sudo sysctl user.max_user_namespaces=10000` allows them.";
  }
  if (setting("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0) {
    return "The setting kernel.unprivileged_userns_clone is 0; "
           "`sudo sysctl kernel.unprivileged_userns_clone=1` allows them.";
  }
  if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1) {
    return "AppArmor forbids them to programs without a profile "
           "(kernel.apparmor_restrict_unprivileged_userns is 1); give fathom-sandbox a profile "
           "with `userns`, or set it to 0.";
  }
  if (in_container()) {
    return "This is inside a container that forbids them; start it with "
           "--security-opt seccomp=unconfined --security-opt systempaths=unconfined.";
  }
  return "The kernel or a security module forbids them to this user.";
}

struct Words {
  const char* call;
  const char* tried;
};
constexpr std::array<Words, 22> kTried = {{
    {"mount", "mount a file system"},
    {"umount2", "unmount a file system"},
    {"move_mount", "mount a file system"},
    {"open_tree", "mount a file system"},
    {"fsopen", "mount a file system"},
    {"mount_setattr", "change a mount"},
    {"pivot_root", "change its root folder"},
    {"chroot", "change its root folder"},
    {"unshare", "make new namespaces"},
    {"clone", "make new namespaces"},
    {"setns", "enter other namespaces"},
    {"socket", "open a socket to the machine or its devices"},
    {"ioctl", "type into a terminal"},
    {"mknod", "make a device node"},
    {"mknodat", "make a device node"},
    {"bpf", "load a program into the kernel"},
    {"perf_event_open", "observe the machine's performance counters"},
    {"keyctl", "use the kernel's key rings"},
    {"add_key", "use the kernel's key rings"},
    {"request_key", "use the kernel's key rings"},
    {"reboot", "restart the machine"},
    {"syslog", "read the kernel's log"},
}};

}  // namespace

std::string say(const SetupFailure& failure) {
  std::string text = "The command was not run: the sandbox layer " + failure.layer +
                     " could not be built (" + failure.what + ": " + std::strerror(failure.error) +
                     "). ";
  if (failure.layer == "seccomp") {
    return text + "A kernel with CONFIG_SECCOMP_FILTER is needed.";
  }
  if (failure.layer == "id-mapped-mount") {
    return text +
           "The workspace's file system cannot map owners; run as the user who owns the "
           "workspace instead of root.";
  }
  const bool forbidden = failure.error == EPERM || failure.error == EACCES ||
                         failure.error == ENOSPC || failure.error == EUSERS;
  if (!forbidden) return text + "`fathom sandbox doctor` shows what this machine offers.";
  if (failure.layer == "user-namespace" || failure.layer == "mount-namespace" ||
      failure.layer == "pid-namespace" || failure.layer == "network-namespace") {
    if (::geteuid() == 0 && std::string_view(failure.what).starts_with("root without")) {
      return text + "Give the workspace to an ordinary user, or start the container privileged.";
    }
    return text + cause_of_namespaces();
  }
  return text + "`fathom sandbox doctor` shows what this machine offers.";
}

std::string say_unreachable() {
  return "The command tried to open a network connection; network is off in this session.";
}

std::string say_denied(const char* call) {
  std::string tried = std::string("use the system call ") + call;
  for (const Words& words : kTried) {
    if (std::strcmp(words.call, call) == 0) tried = words.tried;
  }
  return "The command tried to " + tried + "; the sandbox refused it.";
}

}  // namespace fathom::sandbox
