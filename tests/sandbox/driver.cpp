// Stands for the agent: runs one command in the sandbox, as the user it is told, and writes what
// run() returned to a file. A process of its own, so that tests can change its user and kill it.
//
//   driver NAME=VALUE … -- COMMAND …
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include <grp.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "sandbox/error.h"
#include "sandbox/run.h"

namespace {

namespace sandbox = fathom::sandbox;
using Options = std::map<std::string, std::string>;

void become(const std::string& user) {
  const auto id = static_cast<uid_t>(std::stoul(user));
  if (::setgroups(0, nullptr) != 0 || ::setresgid(id, id, id) != 0 ||
      ::setresuid(id, id, id) != 0) {
    std::abort();
  }
}

sandbox::Policy policy_of(const Options& options) {
  sandbox::Policy policy;
  policy.limits.seconds = 20;
  for (const auto& [name, value] : options) {
    if (name == "workspace") policy.workspace = value;
    if (name == "state") policy.state = value;
    if (name == "read") policy.read_roots.emplace_back(value);
    if (name == "write") policy.write_roots.emplace_back(value);
    if (name == "profile" && value == "read-only") policy.profile = sandbox::Profile::read_only;
    if (name == "seconds") policy.limits.seconds = std::stod(value);
    if (name == "memory") policy.limits.memory_bytes = std::stoll(value);
    if (name == "processes") policy.limits.processes = std::stoi(value);
    if (name == "disk") policy.limits.disk_bytes = std::stoll(value);
    if (name == "file") policy.limits.file_bytes = std::stoll(value);
    if (name == "output") policy.limits.output_bytes = std::stoll(value);
    if (name == "variable") policy.environment[value] = "value";
  }
  return policy;
}

nlohmann::json describe(const sandbox::Exit& exit) {
  nlohmann::json denied = nlohmann::json::array();
  for (const auto& denial : exit.denied) denied.push_back(denial.sentence);
  nlohmann::json planted = nlohmann::json::object();
  for (const auto& each : exit.planted) planted[each.path] = each.kept.string();
  return {{"code", exit.code},         {"signal", exit.signal}, {"by", sandbox::by_name(exit.by)},
          {"sentence", exit.sentence}, {"layers", exit.layers}, {"denied", denied},
          {"planted", planted}};
}

void print(std::string_view bytes) {
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  std::fflush(stdout);  // a test may wait for it
}

}  // namespace

int main(int count, char** values) {
  Options options;
  sandbox::Command command;
  bool named = false;
  for (int i = 1; i < count; ++i) {
    const std::string value = values[i];
    if (named) {
      command.argv.push_back(value);
    } else if (value == "--") {
      named = true;
    } else {
      options[value.substr(0, value.find('='))] = value.substr(value.find('=') + 1);
    }
  }
  if (options.contains("user")) become(options["user"]);
  nlohmann::json result;
  try {
    const sandbox::Policy policy = policy_of(options);
    result = describe(options.contains("streams")
                          ? sandbox::run(command, policy, sandbox::Streams{}, print)
                          : sandbox::run(command, policy, print));
  } catch (const sandbox::Error& error) {
    result = {{"error", error.what()}};
  }
  std::fflush(stdout);
  std::ofstream(options["result"]) << result;
  return 0;
}
