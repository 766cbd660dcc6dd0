// Everything the child needs between clone and exec, built before by the supervisor: there the
// child neither allocates nor throws, and every function is one mechanism.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "sandbox/linux/plan.h"

namespace fathom::sandbox {

// Layers that are to be treated as missing. Only ever makes a call stricter; for tests.
class Missing {
 public:
  Missing() = default;
  explicit Missing(const char* comma_list);
  bool has(const char* layer) const noexcept;

 private:
  std::vector<std::string> layers_;
};

// Who the command is. Outside: the id the rest of the machine sees; inside: the id it sees.
struct Ids {
  uid_t outside = 0;
  gid_t outside_group = 0;
  uid_t inside = 0;
  gid_t inside_group = 0;
  bool privileged = false;  // we are root and may write any map
  bool idmapped = false;    // write and read roots are shown through an id-mapped mount
};

// What the fresh root is made of; targets are relative to it.
struct Symlink {
  std::string to, path;
};
struct Bind {
  std::string source, target;
  bool writable = false;
  bool directory = true;
  bool passed = false;    // its tree comes from the supervisor, who may go where we may not
  bool idmapped = false;  // … and shows the owner's files as the throw-away user's
  bool guarded = false;   // a folder of the policy: its guards follow
};
struct Layout {
  std::vector<Symlink> symlinks;
  std::vector<Bind> binds;           // in the order of mounting: parents first
  std::vector<std::string> devices;  // names in /dev
  std::vector<std::string> masked;   // files and folders to cover
  std::string home;
};

// A list for execve, with the strings it points into.
class StringList {
 public:
  explicit StringList(std::vector<std::string> strings);
  char* const* get() const noexcept { return pointers_.data(); }

 private:
  std::vector<std::string> strings_;
  std::vector<char*> pointers_;
};

struct Jail {
  const Plan& plan;
  const Missing& missing;
  Ids ids;
  Layout layout;
  StringList argv;
  StringList environment;
  std::vector<std::string> programs;  // argv[0] in every folder of PATH, in order
  int control = -1;                   // to the supervisor: messages.h
  int input = -1;                     // the command's ends of its streams
  int output = -1;
  int error = -1;
  mode_t umask = 022;         // of the command
  bool watch_memory = false;  // no cgroup does it
  bool watch_processes = false;
  bool notify = true;
};

}  // namespace fathom::sandbox
