// How calls end, what they leave, and what keeps working inside (P4, P9 to P12, section 12).
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/sandbox/jailed.h"

namespace fathom::tests {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class Call : public Jailed {};
INSTANTIATE_TEST_SUITE_P(Agents, Call, testing::Values(Agent::root, Agent::ordinary), agent_name);

// Descriptors of the host's processes whose command line holds `mark`.
std::vector<int> processes_with(const std::string& mark) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::stringstream read;  // takes what there is, also of a process that ends meanwhile
    read << std::ifstream(entry.path() / "cmdline").rdbuf();
    const std::string line = read.str();
    // The driver carries the mark too, but among its own arguments.
    if (line.find(mark) == std::string::npos || line.find("sandbox_driver") != std::string::npos) {
      continue;
    }
    const long pidfd = ::syscall(SYS_pidfd_open, std::stoi(name), 0);
    if (pidfd >= 0) found.push_back(static_cast<int>(pidfd));
  }
  return found;
}

// True if every process ends within two seconds of being asked.
bool all_gone(const std::vector<int>& pidfds) {
  bool gone = true;
  for (const int pidfd : pidfds) {
    pollfd end{pidfd, POLLIN, 0};
    gone = gone && ::poll(&end, 1, 2000) == 1;
    ::close(pidfd);
  }
  return gone;
}

// A daemon of its own session beside a shell, both deaf to every signal they can be.
const char* const kStubborn =
    "trap '' TERM HUP INT; (setsid bash -c 'trap \"\" TERM HUP INT; sleep 1234.5' &) ; sleep "
    "1234.5";

std::string first_line(int descriptor) {
  std::string line;
  char byte = 0;
  while (::read(descriptor, &byte, 1) == 1 && byte != '\n') line += byte;
  return line;
}

TEST_P(Call, ReportsExitCodesAndSignals) {
  EXPECT_EQ(shell("exit 7").code, 7);
  EXPECT_EQ(shell("kill -SEGV $$").code, 128 + SIGSEGV);
  EXPECT_EQ(run({"no-such-program"}).code, 127);
  EXPECT_EQ(run({"/etc/passwd"}).code, 126);
}

TEST_P(Call, StopsAtTheMemoryLimit) {
  const Outcome outcome = run({"perl", "-e", "$x = 'a' x 400000000; sleep 9"}, {"memory=67108864"});

  EXPECT_EQ(outcome.code, 124) << outcome.error;
  EXPECT_EQ(outcome.by, "limit:memory");
  EXPECT_THAT(outcome.sentence, HasSubstr("64.0 MiB of memory"));
}

TEST_P(Call, StopsTooManyProcesses) {
  const Outcome outcome = shell("for i in {1..200}; do sleep 60 & done; wait", {"processes=64"});

  EXPECT_EQ(outcome.by, "limit:pids") << outcome.error;
}

TEST_P(Call, StopsAFloodOfOutput) {
  const Outcome outcome = run({"yes"}, {"output=1048576"});

  EXPECT_EQ(outcome.by, "limit:output");
  EXPECT_EQ(outcome.output.size(), 1048576u);
}

TEST_P(Call, LimitsFilesAndScratch) {
  const Outcome outcome = shell(
      "head -c 2000000 /dev/zero > big; head -c 9000000 /dev/zero > /tmp/a; stat -c %s big /tmp/a",
      {"file=1048576", "disk=8388608"});

  EXPECT_EQ(std::filesystem::file_size(workspace() / "big"), 1048576u);
}

TEST_P(Call, StopsWhenTimeIsUp) {
  const Outcome outcome = shell(kStubborn, {"seconds=0.5"});

  EXPECT_EQ(outcome.by, "limit:time");
  EXPECT_EQ(outcome.code, 124);
}

TEST_P(Call, LeavesNoProcessWhenItEnds) {
  const std::string mark = "99" + std::to_string(::getpid()) + ".5";
  int output = -1;
  const pid_t driver = start(
      {"bash", "-c", "(setsid sleep " + mark + " &); echo ready; read line; exit 0"}, {}, &output);
  first_line(output);
  finish(driver, output);

  EXPECT_TRUE(processes_with("sleep" + std::string(1, '\0') + mark).empty());
}

TEST_P(Call, DiesWithTheAgent) {
  const std::string mark = "88" + std::to_string(::getpid()) + ".5";
  int output = -1;
  // Ready is said by the second of two shells, when both are there. Neither becomes its last
  // command: a process in the middle of that has no command line.
  const std::string sleeps = "sleep " + mark + "; :";
  const std::string second = "setsid sh -c 'echo ready; " + sleeps + "'";
  const pid_t driver =
      start({"bash", "-c", "trap '' TERM; (" + second + " &); " + sleeps}, {}, &output);
  first_line(output);
  const std::vector<int> processes = processes_with(mark);
  ASSERT_GE(processes.size(), 2u);
  ::kill(driver, SIGKILL);

  EXPECT_TRUE(all_gone(processes));
  finish(driver, output);
}

TEST_P(Call, DiesWithTheSupervisor) {
  const std::string mark = "77" + std::to_string(::getpid()) + ".5";
  int output = -1;
  const pid_t driver =
      start({"bash", "-c", "trap '' TERM; echo ready; sleep " + mark + "; :"}, {}, &output);
  first_line(output);
  const std::vector<int> processes = processes_with(mark);
  ASSERT_GE(processes.size(), 1u);
  std::ifstream children("/proc/" + std::to_string(driver) + "/task/" + std::to_string(driver) +
                         "/children");
  pid_t supervisor = 0;
  children >> supervisor;
  ASSERT_GT(supervisor, 0);
  ::kill(supervisor, SIGKILL);

  EXPECT_TRUE(all_gone(processes));
  EXPECT_THAT(finish(driver, output).error, HasSubstr("killed from outside"));
}

TEST_P(Call, RefusesWithoutALayerItNeeds) {
  for (const char* layer : {"userns", "mountns", "pidns", "netns", "seccomp"}) {
    agent_environment["FATHOM_TEST_MISSING"] = layer;
    const Outcome outcome = shell("touch ran");

    EXPECT_THAT(outcome.error, HasSubstr("The command was not run")) << layer;
    EXPECT_FALSE(std::filesystem::exists(workspace() / "ran")) << layer;
  }
}

TEST_P(Call, SaysWhatItRunsWithout) {
  agent_environment["FATHOM_TEST_MISSING"] = "landlock,notify,memory-cgroup,pids-cgroup";
  const Outcome outcome = shell("./escape mount; ./escape write /etc/planted");

  EXPECT_THAT(outcome.layers, Contains("without-landlock"));
  EXPECT_THAT(outcome.layers, Contains("without-notify"));
  EXPECT_THAT(outcome.layers, Contains("memory-watch"));
  EXPECT_EQ(outcome.output, "refused: EPERM\nrefused: EROFS\n");
}

TEST_P(Call, CannotFakeTheReport) {
  const Outcome outcome = shell("./escape fake-status; exit 9");

  EXPECT_EQ(outcome.output, "refused: EBADF\n");
  EXPECT_EQ(outcome.code, 9);
  EXPECT_EQ(outcome.by, "command");
}

TEST_P(Call, KeepsWhatGitObeys) {
  on_host("git init -q . && git config user.name a && git config user.email a@b");
  const Outcome outcome = shell(
      "echo a > a; git add -A; git commit -qm one; git branch b; git stash -q; git gc -q; "
      "git status --short; echo x > .git/hooks/pre-commit; git config core.fsmonitor x; "
      "mv .git moved; rm -rf .git/hooks; git log --format=%s");

  EXPECT_THAT(outcome.output, HasSubstr("one"));
  EXPECT_FALSE(std::filesystem::exists(workspace() / ".git/hooks/pre-commit"));
  EXPECT_THAT(get("workspace/.git/config"), Not(HasSubstr("fsmonitor")));
  EXPECT_FALSE(std::filesystem::exists(workspace() / "moved"));
}

TEST_P(Call, LetsGitObeyNoOtherFolder) {
  // What a file called "commondir" names is where git looks for hooks and settings instead.
  on_host("git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one");
  const Outcome outcome = shell(
      "cp -r .git evil; git config -f evil/config core.fsmonitor 'touch ran;'; "
      "echo ../evil > .git/commondir");

  EXPECT_EQ(outcome.planted.count(".git/commondir"), 1u) << outcome.error;
  on_host("git status");
  EXPECT_FALSE(std::filesystem::exists(workspace() / "ran"));
}

TEST_P(Call, KeepsTheCommonFolderOfWorktrees) {
  on_host(
      "git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one && "
      "git worktree add -q ../outside/tree");
  const std::string before = get("workspace/.git/worktrees/tree/commondir");
  shell("echo ../../../evil > .git/worktrees/tree/commondir; rm .git/worktrees/tree/commondir");

  EXPECT_EQ(get("workspace/.git/worktrees/tree/commondir"), before);
}

TEST_P(Call, SetsNamesInNewFoldersAside) {
  const Outcome outcome =
      shell("mkdir -p new/.vscode; echo evil > new/.vscode/tasks.json; echo good > new/file");

  EXPECT_EQ(outcome.planted.count("new/.vscode"), 1u) << outcome.error;
  EXPECT_FALSE(std::filesystem::exists(workspace() / "new/.vscode"));
  EXPECT_EQ(get("workspace/new/file"), "good\n");
}

TEST_P(Call, GuardsNamesManyFoldersDown) {
  put("workspace/a/b/c/d/e/.envrc", "mine");
  const Outcome outcome = shell("cd a/b/c/d/e; echo x > .envrc; mkdir .vscode; mkdir -p f/.idea");

  EXPECT_EQ(get("workspace/a/b/c/d/e/.envrc"), "mine");
  EXPECT_EQ(outcome.planted.count("a/b/c/d/e/.vscode"), 1u) << outcome.error;
  EXPECT_EQ(outcome.planted.count("a/b/c/d/e/f/.idea"), 1u) << outcome.error;
}

TEST_P(Call, LeavesTheUsersNamesInFoldersThatCouldNotBeLookedAt) {
  put("workspace/z/.vscode/tasks.json", "mine");
  for (int i = 0; i < 450; ++i) put("workspace/f" + std::to_string(i) + "/file", "");
  const Outcome outcome = shell("rm -r f?? f3*; mkdir z/.idea");

  EXPECT_EQ(get("workspace/z/.vscode/tasks.json"), "mine");
  EXPECT_EQ(outcome.planted.count("z/.vscode"), 0u) << outcome.error;
  EXPECT_EQ(outcome.planted.count("z/.idea"), 1u) << outcome.error;
}

TEST_P(Call, GuardsNamesInFurtherWriteRoots) {
  put("outside/.envrc", "mine");
  const Outcome outcome =
      shell("cd " + outside().string() + "; echo x > .envrc; mkdir .idea; echo in > file",
            {"write=" + outside().string()});

  EXPECT_EQ(get("outside/.envrc"), "mine");
  EXPECT_EQ(get("outside/file"), "in\n");
  EXPECT_EQ(outcome.planted.count((outside() / ".idea").string()), 1u) << outcome.error;
  EXPECT_FALSE(std::filesystem::exists(outside() / ".idea"));
}

TEST_P(Call, RunsWhereAProtectedNameIsALink) {
  put("workspace/real/settings.json", "mine");
  std::filesystem::create_directory_symlink("real", workspace() / ".vscode");
  const Outcome outcome = shell(
      "rm .vscode; mv .vscode away; ln -sfn /tmp .vscode; echo x > .vscode/settings.json; "
      "mv real away; echo ran");

  EXPECT_THAT(outcome.output, testing::EndsWith("ran\n")) << outcome.error;
  EXPECT_EQ(get("workspace/real/settings.json"), "mine");
  EXPECT_EQ(std::filesystem::read_symlink(workspace() / ".vscode"), "real");
}

TEST_P(Call, SaysThatTheNetworkWasWanted) {
  const Outcome outcome = run({"./escape", "outside"});

  EXPECT_EQ(outcome.output, "refused: ENETUNREACH\n");
  EXPECT_THAT(outcome.denied, testing::ElementsAre(HasSubstr("network is off")));
  EXPECT_TRUE(run({"./escape", "tcp", "9"}).denied.empty()) << "loopback is no network";
}

TEST_P(Call, SetsPlantedNamesAside) {
  put("workspace/.envrc", "mine");
  const Outcome outcome =
      shell("mkdir .vscode; echo evil > .vscode/tasks.json; echo x > .envrc; ls -A");

  EXPECT_FALSE(std::filesystem::exists(workspace() / ".vscode"));
  EXPECT_EQ(get("workspace/.envrc"), "mine");
  ASSERT_EQ(outcome.planted.count(".vscode"), 1u);
  EXPECT_TRUE(std::filesystem::exists(outcome.planted.at(".vscode") + "/tasks.json"));
  EXPECT_THAT(outcome.output, Not(HasSubstr(".empty")));
}

TEST_P(Call, GivesFilesToTheWorkspacesOwner) {
  shell("echo x > made; mkdir -p a/b");
  struct stat folder {};
  struct stat made {};
  ASSERT_EQ(::stat(workspace().c_str(), &folder), 0);
  ASSERT_EQ(::stat((workspace() / "made").c_str(), &made), 0);

  EXPECT_EQ(made.st_uid, folder.st_uid);
  EXPECT_EQ(made.st_gid, folder.st_gid);
}

TEST_P(Call, PassesStreamsThrough) {
  std::array<int, 2> input{};
  ASSERT_EQ(::pipe2(input.data(), O_CLOEXEC), 0);
  const std::string bytes("a\0b\xff\n", 5);
  ASSERT_EQ(::write(input[1], bytes.data(), bytes.size()), 5);
  ::close(input[1]);
  int output = -1;
  const pid_t driver = start({"cat"}, {"streams=1"}, &output, input[0]);
  ::close(input[0]);

  // The driver's status lines come through the same pipe, before and after.
  EXPECT_THAT(finish(driver, output).output, HasSubstr(bytes));
}

TEST_P(Call, RunsWhatDevelopersRun) {
  put("workspace/main.c", "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n");
  EXPECT_EQ(shell("gcc -o main main.c && ./main").output, "built\n");
  EXPECT_EQ(shell("diff <(echo a) <(echo a) && mkfifo f && (echo b > f &) && cat f").output, "b\n");
  EXPECT_EQ(shell("exec 2>/dev/null; set -m; sleep 0 & wait %1; echo $?").output, "0\n");
  EXPECT_EQ(shell("truncate -s 300M sparse && stat -c %s sparse").output, "314572800\n");
  EXPECT_EQ(shell("tar cf x.tar main.c && tar tf x.tar && sed -i s/built/b/ main.c").code, 0);
}

TEST_P(Call, RunsPython) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "skipped: python3 missing";
  put("workspace/t.py",
      "import multiprocessing as m, socket, sqlite3, threading, pty, os, tempfile\n"
      "def f(x): return x * x\n"
      "if __name__ == '__main__':\n"
      "  for way in ('fork', 'spawn', 'forkserver'):\n"
      "    with m.get_context(way).Pool(2) as p: print(p.map(f, [1, 2, 3]))\n"
      "  t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
      "  d = sqlite3.connect('a.db'); print(d.execute('pragma journal_mode=wal').fetchone())\n"
      "  s = socket.create_server(('127.0.0.1', 0)); c = "
      "socket.create_connection(s.getsockname())\n"
      "  a, b = pty.openpty(); print(os.isatty(b)); tempfile.NamedTemporaryFile()\n");
  const Outcome outcome = run({"/usr/bin/python3", "t.py"});

  EXPECT_EQ(outcome.output, "[1, 4, 9]\n[1, 4, 9]\n[1, 4, 9]\nthread\n('wal',)\nTrue\n");
}

}  // namespace
}  // namespace fathom::tests
