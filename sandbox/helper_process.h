// Starts the helper program with a plan.
#pragma once

#include <filesystem>

#include <sys/types.h>

#include "sandbox/descriptor.h"
#include "sandbox/linux/plan.h"
#include "sandbox/run.h"

namespace fathom::sandbox {

// Beside the running program, or where `cmake --install` puts it. Throws Error if it is nowhere.
std::filesystem::path find_helper();

struct HelperProcess {
  pid_t pid = -1;
  Descriptor status;    // read the status channel here
  Descriptor lifeline;  // the call ends when this closes
};

// Throws Error if the helper cannot be started.
HelperProcess start_helper(const Plan& plan, const Streams& streams);

}  // namespace fathom::sandbox
