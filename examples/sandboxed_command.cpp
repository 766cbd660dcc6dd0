// Runs a command that may write one folder and nothing else, and tells how it ended.
//
//   sandboxed_command FOLDER COMMAND [ARGUMENT]…
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "sandbox/run.h"

int main(int count, char** values) try {
  if (count < 3) {
    fmt::print(stderr, "usage: sandboxed_command FOLDER COMMAND [ARGUMENT]…\n");
    return 2;
  }
  fathom::sandbox::Policy policy;
  policy.workspace = values[1];
  policy.limits.seconds = 60;

  const fathom::sandbox::Command command = {.argv = {values + 2, values + count}, .directory = {}};
  const auto show = [](std::string_view bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  };
  const fathom::sandbox::Exit exit = fathom::sandbox::run(command, policy, show);

  fmt::print(stderr, "exit {} after {:.2f} s, confined by {} layers\n", exit.code, exit.seconds,
             exit.layers.size());
  if (!exit.sentence.empty()) fmt::print(stderr, "{}\n", exit.sentence);
  return exit.code;
} catch (const std::exception& error) {
  fmt::print(stderr, "sandboxed_command: {}\n", error.what());
  return 1;
}
