// The outside half of a call: starts it, relays its streams, holds its limits, ends it.
#pragma once

#include "sandbox/linux/jail.h"

namespace fathom::sandbox {

// Where the helper finds what the agent gave it, beside 0-2.
constexpr int kStatusDescriptor = 3;
constexpr int kPlanDescriptor = 4;
constexpr int kLifelineDescriptor = 5;  // ends when the agent does

constexpr int kExitDone = 0;  // the last status line says how the command ended
constexpr int kExitNotRun = 125;

// Runs the plan to its end and reports on the status channel. Returns one of the above.
int supervise(const Plan& plan, const Missing& missing);

}  // namespace fathom::sandbox
