// The part of the supervisor that needs the rights of the agent: clone, id maps, id-mapped trees.
#include "sandbox/linux/launch.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/linux/messages.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

// Ids from here on belong to nobody: distributions and container managers stay below 0x70000000.
// Each call has its own, so calls share neither files nor kernel accounting.
constexpr uid_t kThrowAwayFirst = 0x70000000;

struct Namespace {
  std::uint64_t flag;
  const char* layer;
  const char* missing;  // its name for fault injection
};
constexpr std::array<Namespace, 7> kNamespaces = {
    {{CLONE_NEWUSER, "user-namespace", "userns"},
     {CLONE_NEWNS, "mount-namespace", "mountns"},
     {CLONE_NEWPID, "pid-namespace", "pidns"},
     {CLONE_NEWNET, "network-namespace", "netns"},
     {CLONE_NEWIPC, "ipc-namespace", "ipcns"},
     {CLONE_NEWUTS, "uts-namespace", "utsns"},
     {CLONE_NEWCGROUP, "cgroup-namespace", "cgroupns"}}};

bool in_initial_user_namespace() {
  const int file = ::open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
  char text[128] = {};
  const ssize_t got = file < 0 ? -1 : ::read(file, text, sizeof text - 1);
  ::close(file);
  unsigned long inside = 1;
  unsigned long outside = 1;
  unsigned long count = 0;
  return got > 0 && std::sscanf(text, "%lu %lu %lu", &inside, &outside, &count) == 3 &&
         inside == 0 && outside == 0 && count == 4294967295UL;
}

bool may_administer() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  return ::syscall(SYS_capget, &header, sets) == 0 &&
         (sets[0].effective & (1U << CAP_SYS_ADMIN)) != 0;
}

bool write_map(pid_t process, const char* name, const std::string& text) {
  const std::string path = "/proc/" + std::to_string(process) + "/" + name;
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool done = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  ::close(file);
  errno = error;
  return done;
}

bool map_ids(const Ids& ids, pid_t process) {
  const auto line = [](unsigned inside, unsigned outside) {
    return std::to_string(inside) + " " + std::to_string(outside) + " 1\n";
  };
  // Without privilege the kernel wants setgroups given up before a group is mapped.
  return (ids.privileged || write_map(process, "setgroups", "deny")) &&
         write_map(process, "uid_map", line(ids.inside, ids.outside)) &&
         write_map(process, "gid_map", line(ids.inside_group, ids.outside_group));
}

// A detached copy of the tree at `path`; with a user namespace, one in which the owner's files
// belong to the throw-away user.
int detached_tree(const std::string& path, int user_namespace) {
  for (const unsigned recursive : {unsigned{AT_RECURSIVE}, 0U}) {
    const int tree =
        ::open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
    if (tree < 0) continue;
    if (user_namespace < 0) return tree;
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<std::uint64_t>(user_namespace);
    if (::mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &attributes, sizeof attributes) == 0) {
      return tree;
    }
    ::close(tree);
  }
  return -1;
}

std::optional<SetupFailure> make_trees(const Jail& jail, pid_t process,
                                       std::vector<Descriptor>& trees) {
  const std::string path = "/proc/" + std::to_string(process) + "/ns/user";
  const Descriptor user_namespace(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  for (const Bind& bind : jail.layout.binds) {
    if (!bind.passed) continue;
    if (bind.idmapped && jail.missing.has("idmap")) {
      return SetupFailure{"id-mapped-mount", EINVAL, bind.source};
    }
    const int tree = detached_tree(bind.source, bind.idmapped ? user_namespace.get() : -1);
    if (tree < 0) {
      return SetupFailure{bind.idmapped ? "id-mapped-mount" : "mount-namespace", errno,
                          bind.source};
    }
    trees.emplace_back(tree);
  }
  return std::nullopt;
}

// Which of the namespaces the kernel refuses: tried one after the other in a child.
SetupFailure refused_namespace(int error) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (std::size_t i = 0; i < kNamespaces.size(); ++i) {
      if (::unshare(static_cast<int>(kNamespaces[i].flag)) != 0) ::_exit(static_cast<int>(i));
    }
    ::_exit(0);
  }
  int status = 0;
  if (child > 0) ::waitpid(child, &status, 0);
  const auto index = static_cast<std::size_t>(WEXITSTATUS(status));
  return {kNamespaces[index < kNamespaces.size() ? index : 0].layer, error, "clone3"};
}

std::optional<SetupFailure> clone_child(Jail& jail, Child& child) {
  std::uint64_t flags = 0;
  for (const Namespace& each : kNamespaces) {
    if (jail.missing.has(each.missing)) return SetupFailure{each.layer, EPERM, "clone3"};
    flags |= each.flag;
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return SetupFailure{"streams", errno, "socketpair"};
  }
  child.control.reset(ends[0]);
  const Descriptor inside(ends[1]);
  jail.control = inside.get();
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = flags | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return refused_namespace(errno);
  if (pid == 0) {
    child.control.reset();
    run_init(jail);
  }
  child.pid = static_cast<pid_t>(pid);
  child.pidfd.reset(pidfd);
  return std::nullopt;
}

void abandon(Child& child) {
  ::kill(child.pid, SIGKILL);
  ::waitpid(child.pid, nullptr, 0);
  child = Child();
}

// Maps the ids and hands over the mounts: from here on process 1 builds the inside.
std::optional<SetupFailure> let_build(const Jail& jail, const Child& child) {
  if (!map_ids(jail.ids, child.pid)) {
    return SetupFailure{"user-namespace", errno, "writing the id maps"};
  }
  std::vector<Descriptor> trees;
  if (auto failure = make_trees(jail, child.pid, trees)) return failure;
  std::vector<int> numbers;
  for (const Descriptor& tree : trees) numbers.push_back(tree.get());
  if (send_message(child.control.get(), {.kind = Message::Kind::go}, numbers.data(),
                   static_cast<int>(numbers.size()))) {
    return std::nullopt;
  }
  return SetupFailure{"streams", EPIPE, "process 1 is gone"};
}

bool has_ended(const Child& child) {
  pollfd end{child.pidfd.get(), POLLIN, 0};
  return ::poll(&end, 1, 0) > 0;
}

// Meanwhile. If process 1 has ended, what it said of the reason is still to be read.
std::optional<SetupFailure> limit(const Cgroup* memory, const Cgroup* processes,
                                  const Child& child) {
  const bool joined = (memory == nullptr || memory->add(child.pid)) &&
                      (processes == nullptr || processes->add(child.pid));
  if (!joined && !has_ended(child)) {
    return SetupFailure{"cgroup", errno, "joining the control group"};
  }
  if (joined) send_message(child.control.get(), {.kind = Message::Kind::limited});
  return std::nullopt;
}

// In an ordinary container root cannot map ids, but may become the workspace's owner.
std::optional<SetupFailure> become_owner(const struct stat& workspace) {
  if (workspace.st_uid == 0) {
    return SetupFailure{"user-namespace", EPERM,
                        "root without CAP_SYS_ADMIN in a workspace of root"};
  }
  if (::setgroups(0, nullptr) != 0 ||
      ::setresgid(workspace.st_gid, workspace.st_gid, workspace.st_gid) != 0 ||
      ::setresuid(workspace.st_uid, workspace.st_uid, workspace.st_uid) != 0 ||
      ::prctl(PR_SET_DUMPABLE, 1) != 0) {  // or the maps of the child could not be written
    return SetupFailure{"user-namespace", errno, "becoming the workspace's owner"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<SetupFailure> choose_ids(const Plan& plan, Ids& ids) {
  struct stat workspace {};
  if (::stat(plan.workspace.c_str(), &workspace) != 0) {
    return SetupFailure{"workspace", errno, plan.workspace};
  }
  const bool real_root = ::geteuid() == 0 && in_initial_user_namespace();
  if (real_root && may_administer()) {
    const auto number = kThrowAwayFirst + static_cast<uid_t>(::getpid());
    ids = {.outside = number,
           .outside_group = number,
           .inside = workspace.st_uid,
           .inside_group = workspace.st_gid,
           .privileged = true,
           .idmapped = true};
    return std::nullopt;
  }
  if (real_root) {
    if (auto failure = become_owner(workspace)) return failure;
  }
  ids = {.outside = ::geteuid(),
         .outside_group = ::getegid(),
         .inside = ::geteuid(),
         .inside_group = ::getegid()};
  return std::nullopt;
}

std::optional<SetupFailure> launch(Jail& jail, const Cgroup* memory, const Cgroup* processes,
                                   Child& child) {
  if (auto failure = clone_child(jail, child)) return failure;
  std::optional<SetupFailure> failure = let_build(jail, child);
  if (!failure) failure = limit(memory, processes, child);
  if (failure) abandon(child);
  return failure;
}

}  // namespace fathom::sandbox
