// Installs the filter that filter_compiler wrote.
#include <array>
#include <cerrno>
#include <cstdint>
#include <span>

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/linux/filter.h"
#include "sandbox/linux/messages.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

constexpr char kLayer[] = "seccomp";
constexpr std::size_t kStepsMax = BPF_MAXINSNS;

// Without a listener the kernel would answer ENOSYS; then the filter refuses by itself.
void answer_without_listener(std::span<sock_filter> program) noexcept {
  for (sock_filter& step : program) {
    if (step.code == (BPF_RET | BPF_K) && step.k == SECCOMP_RET_USER_NOTIF) {
      step.k = SECCOMP_RET_ERRNO | EPERM;
    }
  }
}

long install(std::span<sock_filter> program, unsigned flags) noexcept {
  const sock_fprog whole{static_cast<unsigned short>(program.size()), program.data()};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &whole);
}

}  // namespace

void restrict_system_calls(const Jail& jail) noexcept {
  if (jail.missing.has(kLayer)) {
    errno = EINVAL;
    fail(jail, kLayer, "seccomp");
  }
  static std::array<sock_filter, kStepsMax> steps;
  const std::span<const sock_filter> chosen =
      jail.watch_memory ? std::span<const sock_filter>(kFilterWithoutMemoryFiles)
                        : std::span<const sock_filter>(kFilter);
  static_assert(std::size(kFilter) <= kStepsMax);
  for (std::size_t i = 0; i < chosen.size(); ++i) steps[i] = chosen[i];
  const std::span<sock_filter> program(steps.data(), chosen.size());

  if (jail.notify) {
    const long listener = install(program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener >= 0) {
      const int passed = static_cast<int>(listener);
      const Message message{.kind = Message::Kind::listener};
      if (!send_message(jail.control, message, &passed, 1)) fail(jail, kLayer, "listener");
      ::close(passed);
      return;
    }
    if (errno != EINVAL && errno != EBUSY) fail(jail, kLayer, "seccomp");
  }
  answer_without_listener(program);
  if (install(program, 0) != 0) fail(jail, kLayer, "seccomp");
}

}  // namespace fathom::sandbox
