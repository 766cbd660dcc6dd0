// Starts a command where other things are mounted, which that command alone sees.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "support/process.h"

namespace fathom::tests {

// The command line for a mount namespace of its own in which `script`, for the shell, has run:
// "$0", "$1" and so on are `places`. As an ordinary user it looks like root's to the command.
inline std::vector<std::string> with_mounts(const std::string& script,
                                            const std::vector<std::string>& places,
                                            const std::vector<std::string>& command) {
  std::vector<std::string> argv = {"unshare", "--mount"};
  if (::geteuid() != 0) argv.insert(argv.end(), {"--user", "--map-root-user"});
  const std::string shift = "shift " + std::to_string(places.size() - 1);
  argv.insert(argv.end(), {"sh", "-c", script + " && " + shift + " && exec \"$@\""});
  argv.insert(argv.end(), places.begin(), places.end());
  argv.insert(argv.end(), command.begin(), command.end());
  return argv;
}

// Whether this machine lets us; tests skip where it does not.
inline bool can_mount(const std::string& script, const std::vector<std::string>& places) {
  return run_process({.argv = with_mounts(script, places, {"true"})}).exit == 0;
}

}  // namespace fathom::tests
