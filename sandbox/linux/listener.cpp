// Seccomp user notifications, supervisor's side.
#include "sandbox/linux/listener.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include <linux/seccomp.h>
#include <sys/ioctl.h>

#include "sandbox/linux/filter.h"
#include "sandbox/linux/sentences.h"
#include "sandbox/linux/status.h"
#include "sandbox/linux/supervisor.h"

namespace fathom::sandbox {
namespace {

// After so many the listener closes: a loop of refused calls must not keep the supervisor busy.
// The kernel then answers ENOSYS, which refuses as well.
constexpr int kAnsweredMax = 100;

const char* name_of(int number) noexcept {
  for (const CallName& call : kCallNames) {
    if (call.number == number) return call.name;
  }
  return "?";
}

}  // namespace

void Listener::answer() {
  // Larger than the structures any kernel writes here; it must be zero before each call.
  alignas(seccomp_notif) std::array<std::byte, 1024> space{};
  auto* notice = reinterpret_cast<seccomp_notif*>(space.data());
  if (::ioctl(descriptor_.get(), SECCOMP_IOCTL_NOTIF_RECV, notice) != 0) {
    if (errno != EINTR && errno != ENOENT) descriptor_.reset();
    return;
  }
  seccomp_notif_resp response{};
  response.id = notice->id;
  response.error = -EPERM;
  ::ioctl(descriptor_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response);
  const char* call = name_of(notice->data.nr);
  StatusLine("denied")
      .text("call", call)
      .number("number", notice->data.nr)
      .text("say", say_denied(call))
      .send(kStatusDescriptor);
  if (++answered_ < kAnsweredMax) return;
  descriptor_.reset();
  StatusLine("denied")
      .text("call", "")
      .text("say", "Further denials were not recorded.")
      .send(kStatusDescriptor);
}

}  // namespace fathom::sandbox
