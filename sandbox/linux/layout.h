// Decides what the fresh root is made of, from the plan and what exists on this machine.
#pragma once

#include <vector>

#include "sandbox/linux/jail.h"

namespace fathom::sandbox {

Layout make_layout(const Plan& plan, const Ids& ids);

// Where argv[0] may be: itself if it has a slash, else in each folder of the plan's PATH.
std::vector<std::string> find_programs(const Plan& plan);

}  // namespace fathom::sandbox
