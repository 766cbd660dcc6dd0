// What the kernel counts for us: settings of the new namespaces, resource limits, capabilities.
#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

constexpr int kPidMaxMin = 301;  // the kernel takes no lower one

bool write_setting(const char* path, long long value) noexcept {
  char text[24];
  const int length = std::snprintf(text, sizeof text, "%lld", value);
  const int file = ::open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool done = ::write(file, text, static_cast<std::size_t>(length)) == length;
  ::close(file);
  return done;
}

void limit(const Jail& jail, __rlimit_resource resource, std::int64_t value) noexcept {
  rlimit both{};
  // A limit that is already lower outside stays.
  if (::getrlimit(resource, &both) != 0) fail(jail, "limits", "getrlimit");
  both.rlim_max = std::min(both.rlim_max, static_cast<rlim_t>(value));
  both.rlim_cur = both.rlim_max;
  if (::setrlimit(resource, &both) != 0) fail(jail, "limits", "setrlimit");
}

}  // namespace

void limit_namespaces(const Jail& jail) noexcept {
  // The filter refuses namespaces too; this holds even if a way around it were found.
  write_setting("/proc/sys/user/max_user_namespaces", 0);
  // The process limit proper is RLIMIT_NPROC, which counts the one id inside; where no cgroup
  // counts as well, the pid namespace is made too small for more.
  if (jail.watch_processes && !jail.missing.has("pid-max")) {
    write_setting("/proc/sys/kernel/pid_max", std::max(jail.plan.limits.processes + 2, kPidMaxMin));
  }
  // System V segments that nobody has attached are in no process's memory: the watch cannot see
  // them, so there can only be few.
  if (jail.watch_memory) {
    const long page = ::sysconf(_SC_PAGESIZE);
    write_setting("/proc/sys/kernel/shmall", jail.plan.limits.memory_bytes / 16 / page);
  }
}

void limit_resources(const Jail& jail) noexcept {
  const Limits& limits = jail.plan.limits;
  // Init counts too. Where a cgroup counts, this lock stands a little behind it: the kernel tells
  // what the cgroup refused, and nothing of what this does.
  limit(jail, RLIMIT_NPROC, limits.processes + (jail.watch_processes ? 1 : 16));
  limit(jail, RLIMIT_FSIZE, limits.file_bytes);
  limit(jail, RLIMIT_NOFILE, limits.open_files);
  limit(jail, RLIMIT_CORE, 0);
  limit(jail, RLIMIT_MSGQUEUE, kMiB);
  limit(jail, RLIMIT_RTPRIO, 0);
}

void drop_capabilities(const Jail& jail) noexcept {
  for (int capability = 0; capability <= 63; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability) != 0 && errno == EINVAL) break;
  }
  // Being user 0 inside means nothing either: no exec gives capabilities back.
  constexpr unsigned long kNothingForRoot = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
                                            SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
                                            SECBIT_NO_CAP_AMBIENT_RAISE |
                                            SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  if (::prctl(PR_SET_SECUREBITS, kNothingForRoot) != 0 ||
      ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
      ::syscall(SYS_capset, &header, none) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    fail(jail, "capabilities", "dropping capabilities");
  }
}

}  // namespace fathom::sandbox
