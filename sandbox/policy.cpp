// The effective policy as JSON.
#include "sandbox/policy.h"

#include <nlohmann/json.hpp>

#include "sandbox/guards.h"
#include "sandbox/make_plan.h"

namespace fathom::sandbox {

std::string policy_json(const Policy& policy) {
  const Plan plan = make_plan({.argv = {"true"}, .directory = {}}, policy);
  const GuardedNames names = find_guarded_names(plan.workspace);
  nlohmann::ordered_json protected_names = nlohmann::json::array();
  for (const Guard& guard : names.present) protected_names.push_back(guard.path);
  const Limits& limits = plan.limits;
  const nlohmann::ordered_json json = {{"profile", profile_name(policy.profile)},
                                       {"network", "off"},
                                       {"workspace", plan.workspace},
                                       {"home", plan.home},
                                       {"read", plan.read_roots},
                                       {"write", plan.write_roots},
                                       {"toolchains", plan.toolchains},
                                       {"masked", plan.masked},
                                       {"protected", protected_names},
                                       {"environment", plan.environment},
                                       {"limits",
                                        {{"memory_bytes", limits.memory_bytes},
                                         {"processes", limits.processes},
                                         {"file_bytes", limits.file_bytes},
                                         {"disk_bytes", limits.disk_bytes},
                                         {"output_bytes", limits.output_bytes},
                                         {"open_files", limits.open_files},
                                         {"seconds", limits.seconds}}}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace fathom::sandbox
