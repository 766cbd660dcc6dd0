// Landlock: file writes only below the write roots; no signals and no abstract sockets out of the
// call. The second lock on what the mount, pid and network namespaces already keep apart.
#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/linux/landlock_abi.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

using namespace landlock;  // NOLINT(google-build-using-namespace): only constants

constexpr char kLayer[] = "landlock";

// Below ABI 3 truncation cannot be confined, so the layer would promise more than it keeps.
constexpr int kAbiMin = 3;
constexpr int kAbiKnown = 6;

constexpr std::uint64_t kChange = kWriteFile | kRemoveDir | kRemoveFile | kMakeChar | kMakeDir |
                                  kMakeReg | kMakeSock | kMakeFifo | kMakeBlock | kMakeSym |
                                  kRefer | kTruncate;
constexpr std::uint64_t kForFiles = kWriteFile | kTruncate | kIoctlDev;

int abi_version() noexcept {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kCreateRulesetVersion);
  return static_cast<int>(std::clamp(version, 0L, static_cast<long>(kAbiKnown)));
}

void allow(const Jail& jail, int rules, const char* path, std::uint64_t access) noexcept {
  PathBeneath rule;
  rule.parent_fd = ::open(path, O_PATH | O_CLOEXEC);
  struct stat status {};
  if (rule.parent_fd < 0 || ::fstat(rule.parent_fd, &status) != 0) fail(jail, kLayer, path);
  rule.allowed_access = S_ISDIR(status.st_mode) ? access : access & kForFiles;
  if (::syscall(SYS_landlock_add_rule, rules, kRulePathBeneath, &rule, 0) != 0) {
    fail(jail, kLayer, path);
  }
  ::close(rule.parent_fd);
}

void allow_policy(const Jail& jail, int rules, std::uint64_t device) noexcept {
  allow(jail, rules, "/tmp", kChange);
  allow(jail, rules, "/dev/shm", kChange);
  allow(jail, rules, jail.plan.home.c_str(), kChange);
  if (jail.plan.writable) allow(jail, rules, jail.plan.workspace.c_str(), kChange);
  for (const std::string& root : jail.plan.write_roots) allow(jail, rules, root.c_str(), kChange);
  for (const std::string& name : jail.layout.devices) {
    char path[64];
    std::snprintf(path, sizeof path, "/dev/%s", name.c_str());
    allow(jail, rules, path, kWriteFile | kTruncate | device);
  }
  allow(jail, rules, "/dev/pts", kWriteFile | device);
  // One's own processes' names, memory and scores; /proc/sys below it is mounted read-only and the
  // rest belongs to the machine's root, who does not exist inside.
  allow(jail, rules, "/proc", kWriteFile | kTruncate);
}

}  // namespace

int restrict_files(const Jail& jail) noexcept {
  const int abi = abi_version();
  if (abi < kAbiMin || jail.missing.has(kLayer)) return 0;
  const std::uint64_t device = abi >= 5 ? kIoctlDev : 0;
  const RulesetAttributes attributes{
      .handled_access_fs = kChange | device,
      .handled_access_net = 0,
      .scoped = abi >= 6 ? kScopeAbstractUnixSocket | kScopeSignal : 0};
  // Older kernels know a shorter structure; a longer one is accepted while its tail is zero.
  const int rules =
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
  if (rules < 0) fail(jail, kLayer, "landlock_create_ruleset");
  allow_policy(jail, rules, device);
  if (::syscall(SYS_landlock_restrict_self, rules, 0) != 0) {
    fail(jail, kLayer, "landlock_restrict_self");
  }
  ::close(rules);
  return abi;
}

}  // namespace fathom::sandbox
