// Runs a command with only the powers its policy grants, and tells truthfully how it ended.
#pragma once

#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "sandbox/policy.h"

namespace fathom::sandbox {

struct Command {
  std::vector<std::string> argv;    // argv[0] is looked up in the sandbox's own PATH
  std::filesystem::path directory;  // relative to the workspace, or absolute; empty: the workspace
};

// A system call that was refused, collapsed over repetitions.
struct Denial {
  std::string call;      // "mount"
  std::string sentence;  // for people: "The command tried to mount a file system; …"
  int count = 1;
};

// A protected name that the command created; it no longer lies in the workspace.
struct SetAside {
  std::string path;            // relative to the workspace
  std::filesystem::path kept;  // where it is now
};

struct Exit {
  enum class By { command, memory, processes, disk, output, time, cancel, agent_gone };

  int code = 0;    // the command's own; 128 + signal if a signal ended it; 124 if a limit did
  int signal = 0;  // 0: none
  By by = By::command;
  double seconds = 0;
  std::int64_t output_bytes = 0;
  std::string sentence;  // why it was ended, in plain words; empty for By::command
  std::vector<Denial> denied;
  std::vector<std::string> layers;  // what confined it: "user-namespace", "landlock-7", …
  std::vector<SetAside> planted;
};

// The name of the status channel: "command", "limit:memory", …, "cancel", "agent-gone".
const char* by_name(Exit::By by) noexcept;

// Receives bytes as they arrive, in the thread that called run(). Must not throw.
using Output = std::function<void(std::string_view bytes)>;

// Runs the command to its end with empty standard input; `output` gets stdout and stderr merged
// in arrival order, at most Limits::output_bytes. A stop request is a cancel: SIGTERM inside,
// two seconds' grace, then every process is killed. When run() returns, no process of the call is
// left. Safe to call from several threads at once.
// Throws Error if the command cannot be isolated; then it did not run.
Exit run(const Command& command, const Policy& policy, const Output& output,
         std::stop_token stop = {});

// Open descriptors that the command's streams are relayed from and to, byte for byte.
struct Streams {
  int input = 0;
  int output = 1;
  int error = 2;
};

// As above, for a command line; `status` receives the status channel's JSON lines.
Exit run(const Command& command, const Policy& policy, const Streams& streams, const Output& status,
         std::stop_token stop = {});

// One layer of the sandbox on this machine.
struct Layer {
  enum class State { works, missing, not_reached };

  std::string name;
  State state = State::works;
  std::string why;     // what was found
  std::string remedy;  // what to do about it; empty if nothing needs to be done
};

// Builds the sandbox once around a command that does nothing and reports each layer.
std::vector<Layer> examine(const Policy& policy);

}  // namespace fathom::sandbox
