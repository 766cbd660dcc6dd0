// Starts process 1 of a call in new namespaces and maps its ids.
#pragma once

#include <optional>
#include <string>

#include "sandbox/descriptor.h"
#include "sandbox/linux/cgroup.h"
#include "sandbox/linux/jail.h"

namespace fathom::sandbox {

// Why a call could not be isolated.
struct SetupFailure {
  std::string layer;
  int error = 0;
  std::string what;
};

// Decides by what this process may do who the command will be. As root of a clipped container it
// becomes the workspace's owner itself.
std::optional<SetupFailure> choose_ids(const Plan& plan, Ids& ids);

struct Child {
  pid_t pid = -1;
  Descriptor pidfd;
  Descriptor control;
};

// Everything up to the message that lets process 1 go on. On failure no process is left.
std::optional<SetupFailure> launch(Jail& jail, const Cgroup* memory, const Cgroup* processes,
                                   Child& child);

}  // namespace fathom::sandbox
