// `fathom sandbox`: the tools' sandbox by hand.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sandbox/policy.h"

namespace fathom::ui {

struct SandboxOptions {
  std::string action;  // exec, doctor, policy
  std::vector<std::string> command;
  std::filesystem::path workspace = ".";
  std::string profile = "workspace-write";
  std::string network = "off";
  std::vector<std::filesystem::path> read_folders;
  std::vector<std::filesystem::path> write_folders;
  sandbox::Limits limits;
  int status_fd = -1;
  bool explain = false;  // say in words, on stderr, how it ended
  bool json = false;
};

// exec: the command's own exit code, 124 ended by a limit, 125 not run.
int sandbox(const SandboxOptions& options);

}  // namespace fathom::ui
