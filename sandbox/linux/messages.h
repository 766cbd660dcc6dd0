// What the supervisor and the inside of a call tell each other: records over a socket pair that
// the command itself never holds.
#pragma once

namespace fathom::sandbox {

struct Message {
  enum class Kind : char {
    // to the inside
    go,         // ids are mapped; carries the mounts only the supervisor can make
    limited,    // process 1 is in its control groups: the command may start
    terminate,  // SIGTERM to every process
    // to the supervisor
    failed,          // a layer could not be built: layer, number (errno), text
    listener,        // carries the seccomp listener
    started,         // the command runs; number: Landlock ABI or 0
    not_executable,  // no program to execute: number (errno)
    unreachable,     // packets for other machines went nowhere: number of them
    exited,          // number: the command's wait status
    memory,          // the watch found too much memory in use
    processes,       // … too many processes
  };

  Kind kind = Kind::go;
  int number = 0;
  char layer[28] = {};
  char text[96] = {};
};

constexpr int kPassedMax = 32;  // descriptors in one message

// Sends with `count` descriptors; false if the other end is gone.
bool send_message(int socket, const Message& message, const int* passed = nullptr,
                  int count = 0) noexcept;

// Waits for a message; false if the other end is gone. `passed` receives up to kPassedMax
// descriptors and `count` how many.
bool receive_message(int socket, Message& message, int* passed = nullptr,
                     int* count = nullptr) noexcept;

}  // namespace fathom::sandbox
