// Build-time program: compiles the allow-list of system calls to BPF and prints it as a C++
// header, so that no call pays for compiling and the helper does not carry the compiler.
//
// Three answers exist. Allowed. Refused by name: handed to the supervisor, which says what was
// tried and answers EPERM. Everything else, newer calls and foreign architectures too: ENOSYS, on
// which libraries fall back to what they did before the call existed.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr std::array kAllowed = {
    // files
    "read", "write", "open", "openat", "openat2", "creat", "close", "close_range", "stat", "fstat",
    "lstat", "newfstatat", "statx", "lseek", "pread64", "pwrite64", "readv", "writev", "preadv",
    "pwritev", "preadv2", "pwritev2", "access", "faccessat", "faccessat2", "dup", "dup2", "dup3",
    "fcntl", "flock", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "truncate",
    "ftruncate", "fallocate", "fadvise64", "readahead", "getdents", "getdents64", "getcwd", "chdir",
    "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat",
    "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod",
    "fchmodat", "chown", "fchown", "lchown", "fchownat", "umask", "utime", "utimes", "futimesat",
    "utimensat", "statfs", "fstatfs", "setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr",
    "fgetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr", "lremovexattr",
    "fremovexattr", "sendfile", "splice", "tee", "vmsplice", "copy_file_range", "pipe", "pipe2",
    "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "io_setup",
    "io_destroy", "io_getevents", "io_pgetevents", "io_submit", "io_cancel",
    // waiting
    "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "signalfd", "signalfd4",
    "timerfd_create", "timerfd_settime", "timerfd_gettime", "pause", "nanosleep", "clock_nanosleep",
    "alarm", "getitimer", "setitimer", "timer_create", "timer_settime", "timer_gettime",
    "timer_getoverrun", "timer_delete", "restart_syscall",
    // memory
    "mmap", "munmap", "mprotect", "mremap", "msync", "mincore", "madvise", "brk", "mlock", "mlock2",
    "munlock", "mlockall", "munlockall", "membarrier", "pkey_alloc", "pkey_free", "pkey_mprotect",
    "mbind", "get_mempolicy", "set_mempolicy", "process_madvise", "remap_file_pages", "shmget",
    "shmat", "shmdt", "shmctl", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd",
    "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify",
    "mq_getsetattr",
    // processes and signals
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "kill", "tkill",
    "tgkill", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigsuspend", "sigaltstack", "getpid", "getppid",
    "gettid", "getpgid", "setpgid", "getpgrp", "getsid", "setsid", "set_tid_address",
    "set_robust_list", "get_robust_list", "futex", "futex_waitv", "rseq", "sched_yield",
    "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam",
    "sched_getscheduler", "sched_setscheduler", "sched_getattr", "sched_setattr",
    "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval", "getpriority",
    "setpriority", "ioprio_get", "ioprio_set", "getrlimit", "setrlimit", "prlimit64", "getrusage",
    "times", "prctl", "arch_prctl", "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "ptrace",
    "process_vm_readv", "process_vm_writev", "kcmp", "seccomp", "landlock_create_ruleset",
    "landlock_add_rule", "landlock_restrict_self",
    // who and where
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setuid",
    "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
    "capget", "capset", "uname", "sysinfo", "getcpu", "getrandom", "gettimeofday", "time",
    "clock_gettime", "clock_getres",
    // sockets; which families can be opened is decided below
    "socketpair", "connect", "accept", "accept4", "bind", "listen", "getsockname", "getpeername",
    "setsockopt", "getsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
    "shutdown"};

constexpr std::array kRefused = {"mount",
                                 "umount2",
                                 "pivot_root",
                                 "chroot",
                                 "move_mount",
                                 "fsopen",
                                 "fsconfig",
                                 "fsmount",
                                 "fspick",
                                 "open_tree",
                                 "mount_setattr",
                                 "unshare",
                                 "setns",
                                 "bpf",
                                 "perf_event_open",
                                 "userfaultfd",
                                 "keyctl",
                                 "add_key",
                                 "request_key",
                                 "init_module",
                                 "finit_module",
                                 "delete_module",
                                 "kexec_load",
                                 "kexec_file_load",
                                 "reboot",
                                 "settimeofday",
                                 "clock_settime",
                                 "clock_adjtime",
                                 "adjtimex",
                                 "swapon",
                                 "swapoff",
                                 "quotactl",
                                 "quotactl_fd",
                                 "open_by_handle_at",
                                 "syslog",
                                 "acct",
                                 "sethostname",
                                 "setdomainname",
                                 "iopl",
                                 "ioperm",
                                 "vhangup",
                                 "fanotify_init"};

// ioctl is allowed by kind of device: files (their flags, cloning, maps) and sockets …
constexpr std::array<unsigned, 5> kIoctlTypes = {0x66, 0x76, 0x58, 0x94, 0x89};
// … and terminals, request by request: not TIOCSTI (0x5412), TIOCLINUX (0x541C), TIOCCONS
// (0x541D) and TIOCSETD (0x5423), which act on more than the terminal's owner.
constexpr std::array<unsigned, 50> kTerminalRequests = {
    0x5401, 0x5402,      0x5403,      0x5404,      0x5405,      0x5406,      0x5407,
    0x5408, 0x5409,      0x540A,      0x540B,      0x540C,      0x540D,      0x540E,
    0x540F, 0x5410,      0x5411,      0x5413,      0x5414,      0x5415,      0x5416,
    0x5417, 0x5418,      0x541B,      0x5420,      0x5421,      0x5422,      0x5424,
    0x5425, 0x5428,      0x5429,      0x5432,      0x5450,      0x5451,      0x5452,
    0x5460, 0x80045430U, 0x40045431U, 0x80045432U, 0x80045438U, 0x80045439U, 0x80045440U,
    0x5441, 0x802C542AU, 0x402C542BU, 0x402C542CU, 0x402C542DU, 0x40045436U, 0x5437,
    0x545D};

constexpr scmp_datum_t kLow32 = 0xffffffffU;
constexpr scmp_datum_t kNamespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                     CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(ENOSYS))) {
    check(context_ == nullptr ? -ENOMEM : 0, "seccomp_init");
    check(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)), "badarch");
    check(seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2), "binary tree");
  }
  ~Filter() { seccomp_release(context_); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void add(const char* name, std::uint32_t action, std::vector<scmp_arg_cmp> arguments = {}) {
    const int number = seccomp_syscall_resolve_name(name);
    // A name this library does not know is left to ENOSYS; a negative one is another machine's.
    if (number < 0) return;
    check(seccomp_rule_add_array(context_, action, number, static_cast<unsigned>(arguments.size()),
                                 arguments.data()),
          name);
  }

  // Prints the program as the initialiser of an array called `name`.
  void print(const char* name) const {
    const int file = ::memfd_create("filter", MFD_CLOEXEC);
    check(seccomp_export_bpf(context_, file), "seccomp_export_bpf");
    const off_t size = ::lseek(file, 0, SEEK_END);
    std::vector<sock_filter> program(static_cast<std::size_t>(size) / sizeof(sock_filter));
    if (::pread(file, program.data(), static_cast<std::size_t>(size), 0) != size) check(-EIO, name);
    ::close(file);
    std::printf("inline constexpr sock_filter %s[] = {\n", name);
    for (const sock_filter& step : program) {
      std::printf("    {0x%04x, %d, %d, 0x%08x},\n", step.code, step.jt, step.jf, step.k);
    }
    std::printf("};\n");
  }

 private:
  static void check(int result, const char* what) {
    if (result == 0) return;
    std::fprintf(stderr, "filter_compiler: %s: error %d\n", what, -result);
    std::exit(1);
  }
  scmp_filter_ctx context_;
};

scmp_arg_cmp masked(unsigned argument, scmp_datum_t mask, scmp_datum_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

void add_sockets(Filter& filter) {
  for (const int family : {AF_UNIX, AF_INET, AF_INET6}) {
    filter.add("socket", SCMP_ACT_ALLOW, {masked(0, kLow32, static_cast<scmp_datum_t>(family))});
  }
  // Protocol 0 lists interfaces and routes, of the call's own network namespace.
  filter.add("socket", SCMP_ACT_ALLOW, {masked(0, kLow32, AF_NETLINK), masked(2, kLow32, 0)});
  // Machine to machine sockets ignore network namespaces: this filter alone keeps them away.
  for (const int family : {AF_VSOCK, AF_PACKET, AF_ALG, AF_BLUETOOTH, AF_XDP, AF_CAN, AF_TIPC}) {
    filter.add("socket", SCMP_ACT_NOTIFY, {masked(0, kLow32, static_cast<scmp_datum_t>(family))});
  }
}

void add_ioctls(Filter& filter) {
  // The kernel looks at 32 bits of the request, so only these are compared.
  for (const unsigned type : kIoctlTypes) {
    filter.add("ioctl", SCMP_ACT_ALLOW, {masked(1, 0x0000ff00U, type << 8U)});
  }
  for (const unsigned request : kTerminalRequests) {
    filter.add("ioctl", SCMP_ACT_ALLOW, {masked(1, kLow32, request)});
  }
  for (const unsigned request : {0x5412U, 0x541CU, 0x541DU, 0x5423U}) {
    filter.add("ioctl", SCMP_ACT_NOTIFY, {masked(1, kLow32, request)});
  }
}

void add_processes(Filter& filter) {
  // clone3 keeps its flags in memory, where a filter cannot look: ENOSYS, and libraries use clone.
  filter.add("clone", SCMP_ACT_ALLOW, {masked(0, kNamespaces, 0)});
  for (scmp_datum_t flag = 1; flag <= kNamespaces; flag <<= 1U) {
    if ((flag & kNamespaces) != 0) filter.add("clone", SCMP_ACT_NOTIFY, {masked(0, flag, flag)});
  }
  // 0xffffffff asks; no randomisation is what debuggers set.
  for (const scmp_datum_t value : {scmp_datum_t{0}, kLow32, scmp_datum_t{ADDR_NO_RANDOMIZE}}) {
    filter.add("personality", SCMP_ACT_ALLOW, {masked(0, kLow32, value)});
  }
}

void add_nodes(Filter& filter) {
  for (const scmp_datum_t type :
       {scmp_datum_t{0}, scmp_datum_t{S_IFREG}, scmp_datum_t{S_IFIFO}, scmp_datum_t{S_IFSOCK}}) {
    filter.add("mknod", SCMP_ACT_ALLOW, {masked(1, S_IFMT, type)});
    filter.add("mknodat", SCMP_ACT_ALLOW, {masked(2, S_IFMT, type)});
  }
  for (const scmp_datum_t type : {scmp_datum_t{S_IFCHR}, scmp_datum_t{S_IFBLK}}) {
    filter.add("mknod", SCMP_ACT_NOTIFY, {masked(1, S_IFMT, type)});
    filter.add("mknodat", SCMP_ACT_NOTIFY, {masked(2, S_IFMT, type)});
  }
}

void print_filter(const char* name, bool with_memory_files) {
  Filter filter;
  for (const char* call : kAllowed) filter.add(call, SCMP_ACT_ALLOW);
  for (const char* call : kRefused) filter.add(call, SCMP_ACT_NOTIFY);
  add_sockets(filter);
  add_ioctls(filter);
  add_processes(filter);
  add_nodes(filter);
  // Pages of a memory file belong to no process, so only a memory cgroup can count them.
  if (with_memory_files) filter.add("memfd_create", SCMP_ACT_ALLOW);
  filter.print(name);
}

}  // namespace

int main() {
  std::printf("// Written by filter_compiler.\n#pragma once\n\n#include <linux/filter.h>\n\n");
  std::printf("namespace fathom::sandbox {\n\n");
  print_filter("kFilter", /*with_memory_files=*/true);
  print_filter("kFilterWithoutMemoryFiles", /*with_memory_files=*/false);
  // What the supervisor calls a refused call in its sentences.
  std::printf("struct CallName { int number; const char* name; };\n");
  std::printf("inline constexpr CallName kCallNames[] = {\n");
  for (const char* call : kRefused) {
    const int number = seccomp_syscall_resolve_name(call);
    if (number >= 0) std::printf("    {%d, \"%s\"},\n", number, call);
  }
  for (const char* call : {"socket", "ioctl", "clone", "mknod", "mknodat"}) {
    const int number = seccomp_syscall_resolve_name(call);
    if (number >= 0) std::printf("    {%d, \"%s\"},\n", number, call);
  }
  std::printf("};\n\n}  // namespace fathom::sandbox\n");
  return 0;
}
