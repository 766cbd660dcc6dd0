// Tries one thing that the sandbox must not allow, named by the first argument.
//
// Prints "refused: ERRNO" and exits 1 if the kernel said no, prints "escaped" and exits 0 if not.
// Linked statically and copied into the workspace, so that it runs wherever the sandbox does.
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <net/if.h>

namespace {

std::string argument;  // the second argument

long pass(long result) {
  return result;
}

long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  return ::syscall(number, a, b, c, d, e);
}

long write_file(const char* path) {
  const int file = ::open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
  return file < 0 ? -1 : ::write(file, "x", 1);
}

long read_file(const char* path) {
  const int file = ::open(path, O_RDONLY);
  char byte = 0;
  if (file < 0) return -1;
  const ssize_t got = ::read(file, &byte, 1);
  if (got == 0) errno = ENODATA;
  return got > 0 ? got : -1;
}

// write(2) by the 32-bit entry. A number of that table would otherwise pass a filter for ours.
long enter_32_bit() {
#if defined(__x86_64__)
  long result = 20;  // getpid
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  if (result < 0) errno = static_cast<int>(-result);
  return result < 0 ? -1 : result;
#else
  errno = ENOSYS;
  return -1;
#endif
}

long connect_internet(int type) {
  const int socket = ::socket(AF_INET, type, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(std::atoi(argument.c_str())));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (type == SOCK_DGRAM) {
    ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::send(socket, "x", 1, 0);
    char byte = 0;
    return ::recv(socket, &byte, 1, 0);  // the refusal arrives as an error
  }
  return ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

long connect_outside() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(80);
  address.sin_addr.s_addr = htonl(0xC0000201);  // 192.0.2.1, for documentation
  return ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

long connect_unix(bool abstract) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t at = abstract ? 1 : 0;
  argument.copy(address.sun_path + at, sizeof address.sun_path - 1 - at);
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + at + argument.size());
  return ::connect(socket, reinterpret_cast<sockaddr*>(&address), length);
}

// Types a line into a terminal of its own: what TIOCSTI does to a shell one stands in.
long type_into_terminal(unsigned long request) {
  const int master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) std::abort();
  const int terminal = ::open(::ptsname(master), O_RDWR);
  if (terminal < 0) std::abort();
  return ::syscall(SYS_ioctl, terminal, request, "x");
}

int foreign_process() {
  return std::atoi(argument.c_str());
}

long count_descriptors() {
  int open = 0;
  for (int number = 3; number < 1024; ++number) open += ::fcntl(number, F_GETFD) >= 0 ? 1 : 0;
  errno = EBADF;
  return open > 0 ? open : -1;
}

long write_every_descriptor() {
  long written = -1;
  const char line[] = "{\"ev\":\"exit\",\"code\":0,\"signal\":0,\"by\":\"command\"}\n";
  for (int number = 3; number < 1024; ++number) {
    if (::write(number, line, sizeof line - 1) > 0) written = number;
  }
  return written;
}

long rise_to_root() {
  if (::setresuid(1234, 1234, 1234) == 0) return 0;
  return -1;
}

long see_interfaces() {
  const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  for (int index = 2; index < 64; ++index) {
    request.ifr_ifindex = index;
    if (::ioctl(socket, SIOCGIFNAME, &request) == 0) return index;
  }
  return -1;
}

long personality_32() {
  return call(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */);
}

const std::map<std::string, std::function<long()>>& attempts() {
  static const std::map<std::string, std::function<long()>> all = {
      {"write", [] { return write_file(argument.c_str()); }},
      {"read", [] { return read_file(argument.c_str()); }},
      {"mount", [] { return pass(::mount("none", "/tmp", "tmpfs", 0, nullptr)); }},
      {"remount",
       [] { return pass(::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr)); }},
      {"umount", [] { return pass(::umount2("/proc/sys", MNT_DETACH)); }},
      {"pivot_root", [] { return call(SYS_pivot_root); }},
      {"chroot", [] { return pass(::chroot("/tmp")); }},
      {"open_tree", [] { return pass(::open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE)); }},
      {"fsopen", [] { return pass(::fsopen("tmpfs", 0)); }},
      {"handle", [] { return call(SYS_open_by_handle_at, AT_FDCWD); }},
      {"mknod", [] { return pass(::mknod("node", S_IFBLK | 0600, makedev(254, 0))); }},
      {"mknod-whiteout", [] { return pass(::mknod("node", S_IFCHR | 0600, 0)); }},
      {"userns", [] { return pass(::unshare(CLONE_NEWUSER)); }},
      {"netns", [] { return pass(::unshare(CLONE_NEWNET)); }},
      {"setns", [] { return pass(::setns(::open("/proc/1/ns/mnt", O_RDONLY), 0)); }},
      {"clone-userns", [] { return call(SYS_clone, CLONE_NEWUSER | SIGCHLD); }},
      {"clone3", [] { return call(SYS_clone3); }},
      {"bpf", [] { return call(SYS_bpf, BPF_PROG_LOAD); }},
      {"perf", [] { return call(SYS_perf_event_open); }},
      {"userfaultfd", [] { return call(SYS_userfaultfd, 1); }},
      {"io_uring", [] { return call(SYS_io_uring_setup, 8); }},
      {"keyctl", [] { return call(SYS_keyctl, 0, -4); }},
      {"add_key", [] { return call(SYS_add_key); }},
      {"module", [] { return call(SYS_finit_module, -1); }},
      {"kexec", [] { return call(SYS_kexec_load); }},
      {"reboot", [] { return call(SYS_reboot, 1); }},
      {"clock", [] { return call(SYS_clock_settime, 0); }},
      {"swapon", [] { return call(SYS_swapon); }},
      {"quotactl", [] { return call(SYS_quotactl); }},
      {"syslog", [] { return call(SYS_syslog, 10); }},
      {"hostname", [] { return pass(::sethostname("x", 1)); }},
      {"unknown", [] { return call(1000); }},
      {"personality", personality_32},
      {"entry-32", enter_32_bit},
      {"entry-x32", [] { return call(0x40000000L + SYS_getpid); }},
      {"other-uid", rise_to_root},
      {"tcp", [] { return connect_internet(SOCK_STREAM); }},
      {"udp", [] { return connect_internet(SOCK_DGRAM); }},
      {"outside", connect_outside},
      {"raw", [] { return pass(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }},
      {"packet", [] { return pass(::socket(AF_PACKET, SOCK_RAW, 0)); }},
      {"vsock", [] { return pass(::socket(AF_VSOCK, SOCK_STREAM, 0)); }},
      {"vsock-high-bits", [] { return call(SYS_socket, 0x100000000L + AF_VSOCK, SOCK_STREAM); }},
      {"alg", [] { return pass(::socket(AF_ALG, SOCK_SEQPACKET, 0)); }},
      {"audit-netlink", [] { return pass(::socket(AF_NETLINK, SOCK_RAW, 9)); }},
      {"interfaces", see_interfaces},
      {"unix", [] { return connect_unix(/*abstract=*/false); }},
      {"abstract", [] { return connect_unix(/*abstract=*/true); }},
      {"kill", [] { return pass(::kill(foreign_process(), SIGTERM)); }},
      {"ptrace", [] { return ::ptrace(PTRACE_ATTACH, foreign_process(), nullptr, nullptr); }},
      {"ptrace-init", [] { return ::ptrace(PTRACE_ATTACH, 1, nullptr, nullptr); }},
      {"tiocsti", [] { return type_into_terminal(TIOCSTI); }},
      {"tiocsti-high-bits", [] { return type_into_terminal(0x100000000UL + TIOCSTI); }},
      {"terminal", [] { return pass(::open("/dev/tty", O_RDWR)); }},
      {"descriptors", count_descriptors},
      {"fake-status", write_every_descriptor},
  };
  return all;
}

}  // namespace

int main(int count, char** values) {
  if (count > 2) argument = values[2];
  const auto attempt = count > 1 ? attempts().find(values[1]) : attempts().end();
  if (attempt == attempts().end()) return 3;
  ::alarm(10);
  errno = 0;
  if (attempt->second() < 0) {
    std::printf("refused: %s\n", ::strerrorname_np(errno));
    return 1;
  }
  std::printf("escaped\n");
  return 0;
}
