// Fixture: a workspace, a home full of secrets and a folder outside, as root and as a user.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace fathom::tests {

// Who the agent is. Without root, the ordinary user is whoever runs the tests.
enum class Agent { root, ordinary };

std::string agent_name(const testing::TestParamInfo<Agent>& info);

struct Outcome {
  int code = -1;
  std::string by;
  std::string sentence;
  std::string error;  // why it did not run; empty if it ran
  std::string output;
  std::vector<std::string> layers;
  std::vector<std::string> denied;
  std::map<std::string, std::string> planted;
};

class Jailed : public testing::TestWithParam<Agent> {
 protected:
  void SetUp() override;

  std::filesystem::path workspace() const { return dir_.path() / "workspace"; }
  std::filesystem::path home() const { return dir_.path() / "home"; }
  std::filesystem::path outside() const { return dir_.path() / "outside"; }

  // Writes a file below the test's folder that belongs to the agent's user.
  std::filesystem::path put(const std::string& path, const std::string& text) const;
  std::string get(const std::string& path) const { return dir_.read(path); }

  // Options are the driver's NAME=VALUE; see driver.cpp.
  Outcome run(const std::vector<std::string>& argv,
              const std::vector<std::string>& options = {}) const;
  Outcome shell(const std::string& script, const std::vector<std::string>& options = {}) const {
    return run({"bash", "-c", script}, options);
  }
  // Runs one verb of escape.cpp; its output without the newline.
  std::string escape(const std::string& verb, const std::string& argument = "",
                     const std::vector<std::string>& options = {}) const;

  // Starts the driver and leaves it running; its standard output is `*output`.
  pid_t start(const std::vector<std::string>& argv, const std::vector<std::string>& options,
              int* output, int input = -1) const;
  Outcome finish(pid_t driver, int output) const;

  // Runs git, or whatever else, on the host inside the workspace.
  void on_host(const std::string& script) const;

  std::map<std::string, std::string> agent_environment = {};

 private:
  void own(const std::filesystem::path& path) const;

  TempDir dir_;
};

}  // namespace fathom::tests
