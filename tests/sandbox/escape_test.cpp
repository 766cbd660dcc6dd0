// Attempts what a steered model would: every case must end in a refusal (P1 to P3, P5 to P8).
#include <cstddef>
#include <filesystem>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/sandbox/jailed.h"

namespace fathom::tests {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Escape : public Jailed {};
INSTANTIATE_TEST_SUITE_P(Agents, Escape, testing::Values(Agent::root, Agent::ordinary), agent_name);

const char* const kRefused = "refused: ";

TEST_P(Escape, WritesOnlyInTheWorkspace) {
  const std::string target = put("outside/file", "before").string();
  const Outcome outcome =
      shell("echo in > inside; echo x > " + target + "; echo x > ../outside/file; ln -s " +
            outside().string() +
            " link; echo x > link/file; ln /etc/passwd hard; mv inside /etc/moved; "
            "chmod 777 /etc/hosts; touch /usr/bin/env; echo x > /proc/self/root/etc/planted; true");

  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(get("outside/file"), "before");
  EXPECT_FALSE(std::filesystem::exists(workspace() / "hard"));
  EXPECT_FALSE(std::filesystem::exists("/etc/moved"));
  EXPECT_FALSE(std::filesystem::exists("/etc/planted"));
  EXPECT_EQ(get("workspace/inside"), "in\n");
}

TEST_P(Escape, ReadOnlyProfileWritesNothingThere) {
  const Outcome outcome = shell("echo x > new || echo x > /tmp/scratch", {"profile=read-only"});

  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_FALSE(std::filesystem::exists(workspace() / "new"));
}

TEST_P(Escape, SharesNoMemoryAndNoTemporaryFilesWithTheHost) {
  const std::string name = workspace().parent_path().filename().string();
  shell("echo x > /dev/shm/" + name + "; echo x > /tmp/" + name + "-left; echo x > /var/tmp/" +
        name);

  EXPECT_FALSE(std::filesystem::exists("/dev/shm/" + name));
  EXPECT_FALSE(std::filesystem::exists("/tmp/" + name + "-left"));
  EXPECT_FALSE(std::filesystem::exists("/var/tmp/" + name));
}

TEST_P(Escape, SeesNeitherHomeNorOtherFolders) {
  put("home/.ssh/id_ed25519", "key");
  put("home/.cargo/bin/tool", "tool");
  put("home/.cargo/bin/credentials.toml", "token");
  const Outcome outcome = shell("ls -A ~ ~/.ssh " + outside().string() +
                                "; cat ~/.cargo/bin/tool ~/.cargo/bin/credentials.toml");

  EXPECT_THAT(outcome.output, Not(HasSubstr("id_ed25519")));
  EXPECT_THAT(outcome.output, HasSubstr("tool"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("token")));
}

TEST_P(Escape, FindsNoSecretOfTheMachine) {
  for (const char* path : {"/etc/shadow", "/proc/1/environ", "/proc/1/mem", "/proc/1/fd/0",
                           "/proc/1/root/etc/passwd", "/proc/kmsg", "/dev/mem", "/dev/kmsg"}) {
    EXPECT_THAT(escape("read", path), StartsWith(kRefused)) << path;
  }
}

TEST_P(Escape, FindsNoSecretInTheEnvironment) {
  agent_environment["SERVICE_API_KEY"] = "hunter2";
  agent_environment["LD_PRELOAD"] = "";
  agent_environment["SSH_AUTH_SOCK"] = "hunter2";
  const Outcome outcome = shell("env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'");

  EXPECT_THAT(outcome.output, Not(HasSubstr("hunter2")));
  EXPECT_THAT(outcome.output, HasSubstr("FATHOM=1"));
  EXPECT_THAT(outcome.output, HasSubstr("PYTHONDONTWRITEBYTECODE=1"));
  EXPECT_THAT(shell("true", {"variable=MY_TOKEN"}).error, HasSubstr("MY_TOKEN"));
}

TEST_P(Escape, ReachesNoNetwork) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string port = std::to_string(ntohs(address.sin_port));

  EXPECT_EQ(escape("tcp", port), "refused: ECONNREFUSED");
  EXPECT_EQ(escape("udp", port), "refused: ECONNREFUSED");
  for (const char* verb : {"outside", "raw", "packet", "vsock", "vsock-high-bits", "alg",
                           "audit-netlink", "interfaces"}) {
    EXPECT_THAT(escape(verb), StartsWith(kRefused)) << verb;
  }
  ::close(listener);
}

TEST_P(Escape, ReachesNoSocketOfTheHost) {
  const std::string name = "fathom-test-" + std::to_string(::getpid());
  const std::string path = (workspace() / "host.sock").string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, name.size());
  const int abstract = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(abstract, reinterpret_cast<sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  ASSERT_EQ(::listen(abstract, 1), 0);
  sockaddr_un in_workspace{};
  in_workspace.sun_family = AF_UNIX;
  path.copy(in_workspace.sun_path, sizeof in_workspace.sun_path - 1);
  const int named = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(named, reinterpret_cast<sockaddr*>(&in_workspace), sizeof in_workspace), 0);
  ASSERT_EQ(::listen(named, 1), 0);
  std::filesystem::permissions(path, std::filesystem::perms(0777));

  EXPECT_THAT(escape("abstract", name), StartsWith(kRefused));
  EXPECT_EQ(escape("unix", "host.sock"), "refused: ECONNREFUSED");
  EXPECT_EQ(escape("unix", "host.sock", {"profile=read-only"}), "refused: ECONNREFUSED");

  const std::string outer = (outside() / "host.sock").string();
  sockaddr_un in_read_root{};
  in_read_root.sun_family = AF_UNIX;
  outer.copy(in_read_root.sun_path, sizeof in_read_root.sun_path - 1);
  const int further = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(further, reinterpret_cast<sockaddr*>(&in_read_root), sizeof in_read_root), 0);
  ASSERT_EQ(::listen(further, 1), 0);
  std::filesystem::permissions(outer, std::filesystem::perms(0777));
  EXPECT_EQ(escape("unix", outer, {"read=" + outside().string()}), "refused: ECONNREFUSED");
  EXPECT_EQ(escape("unix", outer, {"write=" + outside().string()}), "refused: ECONNREFUSED");
  ::close(further);
  ::close(abstract);
  ::close(named);
}

TEST_P(Escape, ReachesNoHostProcess) {
  const std::string self = std::to_string(::getpid() > 1000 ? ::getpid() : 999999);

  EXPECT_EQ(escape("kill", self), "refused: ESRCH");
  EXPECT_EQ(escape("ptrace", self), "refused: ESRCH");
  EXPECT_EQ(escape("ptrace-init"), "refused: EPERM");
  EXPECT_THAT(escape("setns"), StartsWith(kRefused));
}

TEST_P(Escape, HasNoTerminal) {
  EXPECT_EQ(escape("terminal"), "refused: ENXIO");
  EXPECT_EQ(escape("tiocsti"), "refused: EPERM");
  EXPECT_EQ(escape("tiocsti-high-bits"), "refused: EPERM");
  EXPECT_EQ(escape("descriptors"), "refused: EBADF");
}

TEST_P(Escape, MakesNoCallThatChangesTheMachine) {
  for (const char* verb :
       {"mount",        "remount",  "umount", "pivot_root",     "chroot",      "open_tree",
        "fsopen",       "handle",   "mknod",  "mknod-whiteout", "userns",      "netns",
        "clone-userns", "clone3",   "bpf",    "perf",           "userfaultfd", "io_uring",
        "keyctl",       "add_key",  "module", "kexec",          "reboot",      "clock",
        "swapon",       "quotactl", "syslog", "hostname",       "unknown",     "personality",
        "entry-32",     "entry-x32"}) {
    EXPECT_THAT(escape(verb), AnyOf("refused: EPERM", "refused: ENOSYS")) << verb;
  }
}

TEST_P(Escape, WritesNoSettingOfTheKernel) {
  for (const char* path : {"/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward",
                           "/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/sys/planted"}) {
    EXPECT_THAT(escape("write", path), StartsWith(kRefused)) << path;
  }
}

TEST_P(Escape, HasNoCapability) {
  const Outcome outcome = shell("grep -E 'CapEff|CapPrm|CapBnd|NoNewPrivs' /proc/self/status");

  EXPECT_EQ(outcome.output,
            "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
            "NoNewPrivs:\t1\n");
}

TEST_P(Escape, IsToldAndNamed) {
  const Outcome outcome = run({"./escape", "mount"});

  EXPECT_THAT(outcome.denied, testing::ElementsAre(HasSubstr("tried to mount a file system")));
}

}  // namespace
}  // namespace fathom::tests
