// `fathom sandbox`: the tools' sandbox by hand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fathom::ui {

struct SandboxOptions {
  std::string action;  // exec, doctor, policy
  std::vector<std::string> command;
  std::filesystem::path workspace = ".";
  std::string profile = "workspace-write";
  std::string network = "off";
  std::vector<std::filesystem::path> read_folders;
  std::vector<std::filesystem::path> write_folders;
  std::string memory;       // sizes take K, M, G; empty: the default
  int processes_max = 512;  // --pids
  std::string file_size = "8G";
  std::string disk = "8G";
  double timeout_s = 120;
  std::string output = "16M";
  int status_fd = -1;
  bool explain = false;  // say in words, on stderr, how it ended
  bool json = false;
};

// exec: the command's own exit code, 124 ended by a limit, 125 not run.
int sandbox(const SandboxOptions& options);

}  // namespace fathom::ui
