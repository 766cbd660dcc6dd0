// Plain words for what the helper reports.
#pragma once

#include <string>

#include "sandbox/linux/launch.h"

namespace fathom::sandbox {

// Why the call did not run, what was found to be the cause, and the way out.
std::string say(const SetupFailure& failure);

// "The command tried to open a network connection; …"
std::string say_unreachable();

// "The command tried to mount a file system; …"
std::string say_denied(const char* call);

}  // namespace fathom::sandbox
