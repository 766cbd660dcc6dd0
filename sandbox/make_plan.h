// Turns a policy into the plan that the helper carries out.
#pragma once

#include "sandbox/linux/plan.h"
#include "sandbox/policy.h"
#include "sandbox/run.h"

namespace fathom::sandbox {

// Everything but the guards. Throws Error if the policy contradicts itself, names a folder that
// does not exist, or would show what it must not.
Plan make_plan(const Command& command, const Policy& policy);

}  // namespace fathom::sandbox
