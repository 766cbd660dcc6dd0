// The program fathom-sandbox: takes a plan from the agent and runs it. Small and static, so that
// starting it costs little and its memory holds none of the agent's.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/linux/supervisor.h"

namespace {

namespace sandbox = fathom::sandbox;

// Arguments of one exec are bounded by the kernel to a few MiB; a longer plan is no plan.
constexpr off_t kPlanBytesMax = 16 << 20;

std::optional<sandbox::Plan> read_plan() {
  struct stat status {};
  if (::fstat(sandbox::kPlanDescriptor, &status) != 0 || status.st_size > kPlanBytesMax) {
    return std::nullopt;
  }
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  if (::pread(sandbox::kPlanDescriptor, bytes.data(), bytes.size(), 0) != std::ssize(bytes)) {
    return std::nullopt;
  }
  ::close(sandbox::kPlanDescriptor);
  return sandbox::decode(bytes);
}

// The block stays readable in our memory and in that of every child until its exec.
void wipe_environment() {
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    std::memset(*variable, 0, std::strlen(*variable));
  }
  ::clearenv();
}

}  // namespace

int main() {
  const char* missing_layers = std::getenv("FATHOM_TEST_MISSING");
  const sandbox::Missing missing(missing_layers);
  wipe_environment();
  // Every descriptor we were not given on purpose would be one more way out.
  ::close_range(sandbox::kLifelineDescriptor + 1, ~0U, 0);
  const bool given = ::fcntl(sandbox::kStatusDescriptor, F_SETFD, FD_CLOEXEC) == 0 &&
                     ::fcntl(sandbox::kLifelineDescriptor, F_SETFD, FD_CLOEXEC) == 0;
  const std::optional<sandbox::Plan> plan = given ? read_plan() : std::nullopt;
  if (!plan) {
    std::fputs("fathom-sandbox is started by fathom; see `fathom sandbox exec --help`.\n", stderr);
    ::_exit(sandbox::kExitNotRun);
  }
  // Leaves without the handlers of exit: the memory is the kernel's to take back.
  ::_exit(sandbox::supervise(*plan, missing));
}
