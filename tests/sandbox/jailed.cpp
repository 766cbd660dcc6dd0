// Starts the driver as the user of the test and reads what it reports.
#include "tests/sandbox/jailed.h"

#include <array>
#include <cstdlib>
#include <fstream>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "test_paths.h"

namespace fathom::tests {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kOrdinaryUser = 12345;

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 65536> buffer;
  ssize_t got = 0;
  while ((got = ::read(descriptor, buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (std::string& text : strings) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

std::string agent_name(const testing::TestParamInfo<Agent>& info) {
  return info.param == Agent::root ? "AsRoot" : "AsUser";
}

void Jailed::SetUp() {
  if (GetParam() == Agent::root && ::geteuid() != 0) GTEST_SKIP() << "skipped: root missing";
  fs::permissions(dir_.path(), fs::perms(0755));
  for (const fs::path& folder :
       {workspace(), home(), outside(), dir_.path() / "bin", dir_.path() / "state"}) {
    fs::create_directories(folder);
    own(folder);
  }
  // Beside each other, where an ordinary user can reach them.
  for (const char* program : {"sandbox_driver", "fathom-sandbox"}) {
    std::error_code elsewhere;
    const fs::path built = fs::path(FATHOM_BUILD) / program;
    const fs::path here = dir_.path() / "bin" / program;
    fs::create_hard_link(built, here, elsewhere);
    if (elsewhere) fs::copy(built, here);
  }
  fs::copy(fs::path(FATHOM_BUILD) / "sandbox_escape", workspace() / "escape");
  agent_environment["HOME"] = home().string();
  agent_environment["PATH"] = "/usr/local/bin:/usr/bin:/bin";
}

void Jailed::own(const fs::path& path) const {
  if (::geteuid() != 0 || GetParam() == Agent::root) return;
  ASSERT_EQ(::lchown(path.c_str(), kOrdinaryUser, kOrdinaryUser), 0) << path;
}

fs::path Jailed::put(const std::string& path, const std::string& text) const {
  fs::path file = dir_.write(path, text);
  for (fs::path each = file; each != dir_.path(); each = each.parent_path()) own(each);
  return file;
}

pid_t Jailed::start(const std::vector<std::string>& argv, const std::vector<std::string>& options,
                    int* output, int input) const {
  std::vector<std::string> arguments = {(dir_.path() / "bin/sandbox_driver").string(),
                                        "workspace=" + workspace().string(),
                                        "state=" + (dir_.path() / "state").string(),
                                        "result=" + (dir_.path() / "state/result").string()};
  if (::geteuid() == 0 && GetParam() == Agent::ordinary) {
    arguments.push_back(fmt::format("user={}", kOrdinaryUser));
  }
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), argv.begin(), argv.end());
  std::vector<std::string> variables;
  for (const auto& [name, value] : agent_environment) variables.push_back(name + "=" + value);

  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (input >= 0) ::posix_spawn_file_actions_adddup2(&actions, input, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  pid_t driver = -1;
  const int error = ::posix_spawn(&driver, arguments.front().c_str(), &actions, nullptr,
                                  pointers(arguments).data(), pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) throw std::runtime_error("cannot start the driver");
  *output = ends[0];
  return driver;
}

Outcome Jailed::finish(pid_t driver, int output) const {
  Outcome outcome;
  outcome.output = read_all(output);
  ::close(output);
  ::waitpid(driver, nullptr, 0);
  std::ifstream file(dir_.path() / "state/result");
  const nlohmann::json result = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!result.is_object()) {
    outcome.error = "the driver left no result";
    return outcome;
  }
  outcome.error = result.value("error", "");
  if (!outcome.error.empty()) return outcome;
  outcome.code = result["code"];
  outcome.by = result["by"];
  outcome.sentence = result["sentence"];
  outcome.layers = result["layers"].get<std::vector<std::string>>();
  outcome.denied = result["denied"].get<std::vector<std::string>>();
  outcome.planted = result["planted"].get<std::map<std::string, std::string>>();
  return outcome;
}

Outcome Jailed::run(const std::vector<std::string>& argv,
                    const std::vector<std::string>& options) const {
  int output = -1;
  const pid_t driver = start(argv, options, &output);
  return finish(driver, output);
}

std::string Jailed::escape(const std::string& verb, const std::string& argument,
                           const std::vector<std::string>& options) const {
  const Outcome outcome = run({"./escape", verb, argument}, options);
  EXPECT_EQ(outcome.error, "");
  return outcome.output.substr(0, outcome.output.find('\n'));
}

void Jailed::on_host(const std::string& script) const {
  const std::string command = fmt::format(
      "cd '{}' && export HOME='{}' GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory "
      "GIT_CONFIG_VALUE_0='*' && {{ {}; }} >/dev/null 2>&1",
      workspace().string(), home().string(), script);
  ASSERT_EQ(::system(command.c_str()), 0) << script;
  for (const auto& each : fs::recursive_directory_iterator(workspace())) own(each.path());
}

}  // namespace fathom::tests
