// Runs another program that a test compares with.
#pragma once

#include <cstdio>
#include <string>

#include <sys/wait.h>

namespace fathom::tools {

struct ProcessResult {
  int exit = -1;
  std::string output;
};

// Through the shell; standard error goes where the command sends it.
inline ProcessResult run_process(const std::string& command) {
  ProcessResult result;
  std::FILE* stream = ::popen(command.c_str(), "r");
  if (!stream) return result;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, stream)) {
    result.output.append(buffer, got);
  }
  const int status = ::pclose(stream);
  if (WIFEXITED(status)) result.exit = WEXITSTATUS(status);
  return result;
}

}  // namespace fathom::tools
