// run_command: through the real sandbox, with every text around the output.
#include <mutex>

#include <gmock/gmock.h>

#include "sandbox/error.h"
#include "sandbox/run.h"
#include "tests/tools/desk_fixture.h"

namespace fathom::tools {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class RunCommand : public DeskTest {
 protected:
  void SetUp() override {
    try {
      sandbox::Policy policy;
      policy.workspace = folder_.path();
      sandbox::run({.argv = {"true"}, .directory = {}}, policy, [](std::string_view) {});
    } catch (const sandbox::Error& error) {
      GTEST_SKIP() << "sandbox: " << error.what();
    }
  }

  // Without the header line.
  std::string body(const nlohmann::ordered_json& arguments) {
    const std::string outcome = text("run_command", arguments);
    return outcome.substr(outcome.find('\n') + 1);
  }
};

TEST_F(RunCommand, HeadsTheOutputWithWhatRan) {
  const Outcome outcome = call("run_command", {{"command", "echo out; echo err >&2; exit 3"}});

  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_EQ(outcome.exit, 3);
  EXPECT_THAT(outcome.text,
              MatchesRegex("exit 3 · [0-9]\\.[0-9] s · run_command echo out; echo err >&2; exit "
                           "3\nout\nerr"));
}

TEST_F(RunCommand, SaysWhenThereIsNoOutput) {
  EXPECT_EQ(call("run_command", {{"command", "true"}}).status, Status::ok);
  EXPECT_EQ(body({{"command", "printf '\\n\\n'"}}), "(no output)");
}

TEST_F(RunCommand, ShortensLongCommandsInTheHeader) {
  const std::string shown = text("run_command", {{"command", "true\necho two"}});
  EXPECT_THAT(shown, EndsWith("run_command true …\ntwo"));
  EXPECT_THAT(text("run_command", {{"command", "true " + std::string(300, 'x')}}),
              HasSubstr("run_command true " + std::string(195, 'x') + " …\n"));
}

TEST_F(RunCommand, RunsWhereItIsTold) {
  write("src/a.txt", "");

  EXPECT_EQ(body({{"command", "ls"}, {"dir", "src"}}), "a.txt");
  EXPECT_EQ(body({{"command", "ls"}}), "src");
  EXPECT_EQ(text("run_command", {{"command", "ls"}, {"dir", "none"}}), "There is no folder none.");
  EXPECT_EQ(call("run_command", {{"command", "ls"}, {"dir", ".."}}).status, Status::denied);
}

TEST_F(RunCommand, StreamsCleanOutput) {
  std::string streamed;

  toolbox_->run("run_command", R"({"command":"printf '\\033[31mred\\033[0m\\n'; echo two"})",
                [&](std::string_view text) { streamed += text; });

  EXPECT_EQ(streamed, "red\ntwo\n");
}

TEST_F(RunCommand, KeepsTheWholeOfALongOutput) {
  const Outcome outcome = call("run_command", {{"command", "seq 1 30000"}});

  ASSERT_TRUE(outcome.omitted);
  EXPECT_EQ(outcome.omitted->kept_in, "out/1.txt");
  EXPECT_THAT(outcome.text, HasSubstr("lines left out"));
  EXPECT_THAT(outcome.text, HasSubstr("Everything: read_file out/1.txt]\n"));
  EXPECT_THAT(outcome.text, EndsWith("\n29999\n30000"));
  EXPECT_LE(estimate_tokens(outcome.text), 6200);
  EXPECT_EQ(text("read_file", {{"path", "out/1.txt"}, {"from", 15000}, {"to", 15000}}),
            "read_file out/1.txt 15000-15000 of 30000\n15000 15000");
}

TEST_F(RunCommand, NamesKeptTextsPastFilesOfTheWorkspace) {
  write("out/1.txt", "mine");

  EXPECT_EQ(call("run_command", {{"command", "seq 1 30000"}}).omitted->kept_in, "out/2.txt");
  EXPECT_THAT(text("read_file", {{"path", "out/1.txt"}}), EndsWith("1 mine"));
}

TEST_F(RunCommand, StopsAtTheTimeout) {
  const Outcome outcome =
      call("run_command", {{"command", "echo begun; sleep 60"}, {"timeout_s", 1}});

  EXPECT_EQ(outcome.status, Status::timeout);
  EXPECT_THAT(outcome.text, StartsWith("exit 124 · "));
  EXPECT_THAT(outcome.text, EndsWith("stopped after 1 s. Output so far below. Longer: timeout_s "
                                     "up to 3600.\nbegun"));
  EXPECT_THAT(text("run_command", {{"command", "sleep 60"}, {"wait_s", 1}}),
              HasSubstr("stopped after 1 s: wait_s ends the command, as there are no jobs yet."));
}

TEST_F(RunCommand, RefusesTimesOutOfRange) {
  EXPECT_EQ(text("run_command", {{"command", "true"}, {"timeout_s", 3601}}),
            "run_command needs timeout_s from 1 to 3600. Got: 3601.");
  EXPECT_EQ(text("run_command", {{"command", "true"}, {"wait_s", 0}}),
            "run_command needs wait_s from 1 to 3600. Got: 0.");
}

TEST_F(RunCommand, EndsWhenTheTurnIsStopped) {
  std::stop_source turn;

  const Outcome outcome = toolbox_->run(
      "run_command", R"({"command":"echo begun; sleep 60"})",
      [&](std::string_view) { turn.request_stop(); }, turn.get_token());

  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_THAT(outcome.text, HasSubstr("stopped by the user. Output so far below.\nbegun"));
}

TEST_F(RunCommand, SaysThatTheNetworkIsOff) {
  const Outcome outcome = call("run_command", {{"command", "exec 3<>/dev/tcp/192.0.2.1/80"}});

  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_THAT(outcome.text, HasSubstr("\ndenied: network is off. Installed packages: pip list. "));
  ASSERT_EQ(outcome.denied.size(), 1U);
  EXPECT_EQ(outcome.denied[0].what, "network");
  EXPECT_THAT(outcome.denied[0].say, HasSubstr("tried to open a network connection"));
  // A program that gets on without it needed none.
  EXPECT_TRUE(
      call("run_command", {{"command", "(exec 3<>/dev/tcp/192.0.2.1/80); true"}}).denied.empty());
}

TEST_F(RunCommand, SaysWhatWasSetAside) {
  sandbox::Policy policy;
  policy.state = kept_.path();
  open({}, policy);

  const Outcome outcome = call("run_command", {{"command", "echo evil > .envrc"}});

  EXPECT_THAT(outcome.text, HasSubstr(".envrc was set aside"));
  ASSERT_EQ(outcome.denied.size(), 1U);
  EXPECT_EQ(outcome.denied[0].target, ".envrc");
  EXPECT_EQ(outcome.denied[0].rule, "protected");
}

TEST_F(RunCommand, CannotWriteOutside) {
  const tests::TempDir outside;

  const Outcome outcome =
      call("run_command",
           {{"command", "echo x > " + (outside.path() / "new").string() + " && echo ok"}});

  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_FALSE(std::filesystem::exists(outside.path() / "new"));
}

}  // namespace
}  // namespace fathom::tools
