// Ids, host name and loopback of the new namespaces.
#include <csignal>
#include <cstring>

#include <grp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <net/if.h>

#include "sandbox/linux/steps.h"

namespace fathom::sandbox {

void become_mapped(const Jail& jail) noexcept {
  if (jail.ids.privileged) {
    if (::setgroups(0, nullptr) != 0 ||
        ::setresgid(jail.ids.inside_group, jail.ids.inside_group, jail.ids.inside_group) != 0 ||
        ::setresuid(jail.ids.inside, jail.ids.inside, jail.ids.inside) != 0) {
      fail(jail, "user-namespace", "becoming the throw-away user");
    }
  }
  // After the change of ids, which clears it. Nobody may look into a process that still carries
  // the supervisor's memory.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::prctl(PR_SET_DUMPABLE, 0) != 0) {
    fail(jail, "user-namespace", "prctl");
  }
}

void name_host(const Jail& jail) noexcept {
  constexpr char kName[] = "sandbox";
  if (::sethostname(kName, sizeof kName - 1) != 0) fail(jail, "uts-namespace", "sethostname");
}

void raise_loopback(const Jail& jail) noexcept {
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (socket < 0 || ::ioctl(socket, SIOCSIFFLAGS, &request) != 0) {
    fail(jail, "network-namespace", "raising the loopback interface");
  }
  ::close(socket);
}

}  // namespace fathom::sandbox
