// The command's own process, from fork to exec.
//
// The order is the design: each step gives up what only the steps before it needed. System calls
// come last, because the filter forbids the calls that build the rest.
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/linux/messages.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

// Yields to the agent, which computes beside the command.
constexpr int kNice = 5;

void restore_signals() noexcept {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void take_streams(const Jail& jail) noexcept {
  if (::dup2(jail.input, 0) < 0 || ::dup2(jail.output, 1) < 0 || ::dup2(jail.error, 2) < 0) {
    fail(jail, "streams", "dup2");
  }
}

// The first of the candidates that exists decides, as in a shell.
int execute(const Jail& jail) noexcept {
  if (::chdir(jail.plan.directory.c_str()) != 0) return errno;
  int error = ENOENT;
  for (const std::string& program : jail.programs) {
    ::execve(program.c_str(), jail.argv.get(), jail.environment.get());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  return error;
}

}  // namespace

void enter(const Jail& jail, int report) noexcept {
  ::setsid();  // no controlling terminal: a fresh session has none
  restore_signals();
  take_streams(jail);
  ::umask(jail.umask);
  ::setpriority(PRIO_PROCESS, 0, kNice);
  const int abi = restrict_files(jail);
  if (::write(report, &abi, sizeof abi) != sizeof abi) fail(jail, "landlock", "report");
  restrict_system_calls(jail);
  const int error = execute(jail);
  const bool told = ::write(report, &error, sizeof error) == sizeof error;
  ::_exit(told ? 127 : 125);
}

}  // namespace fathom::sandbox
