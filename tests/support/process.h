// Runs a program to its end, or until a test ends it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace fathom::tests {

struct Finished {
  int exit = 0;  // 128 + signal if a signal ended it
  std::string output;
  std::string error;
};

struct Start {
  std::vector<std::string> argv;
  std::filesystem::path folder = ".";
  std::vector<std::string> environment = {};  // NAME=value, on top of ours
  std::string input = {};                     // standard input, then its end

  // Told all of standard output whenever it has grown; may signal the process.
  std::function<void(pid_t, std::string_view output)> on_output = {};
};

Finished run_process(const Start& start);

}  // namespace fathom::tests
