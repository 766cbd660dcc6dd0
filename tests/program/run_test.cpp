// `fathom run` as people and programs call it, with the embedded model and the real sandbox.
#include <algorithm>
#include <csignal>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "memory/store.h"
#include "support/program.h"

namespace fathom::tests {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr const char* kTask = "The tests fail. Fix them.";
constexpr const char* kVerify = "python3 test_kettle.py";

// A copy of the example project, and a home of its own for the store.
class Run : public testing::Test {
 protected:
  Run() {
    std::filesystem::copy(FATHOM_SOURCE "/examples/broken_project", project_.path(),
                          std::filesystem::copy_options::recursive);
  }

  Start command(const std::vector<std::string>& arguments) const {
    return program_.command(arguments);
  }
  Finished fathom(const std::vector<std::string>& arguments) const {
    return program_.run(arguments);
  }

  std::filesystem::path store() const { return home_.path() / "fathom" / "memory.sqlite"; }

  Program program_;
  const TempDir& project_ = program_.project();
  const TempDir& home_ = program_.home();
};

std::vector<Json> lines_of(const std::string& output) {
  std::vector<Json> lines;
  std::istringstream stream(output);
  for (std::string line; std::getline(stream, line);) lines.push_back(Json::parse(line));
  return lines;
}

void expect_one_result_at_the_end(const std::vector<Json>& lines) {
  ASSERT_FALSE(lines.empty());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["n"], lines[0]["n"].get<int>() + static_cast<int>(i));
    EXPECT_EQ(lines[i]["type"] == "result", i + 1 == lines.size());
  }
}

TEST_F(Run, FixesTheFailingTestOfTheExample) {
  const Finished run = fathom({"run", "--json", "--verify", kVerify, kTask});

  EXPECT_EQ(run.exit, 0) << run.output << run.error;
  const auto lines = lines_of(run.output);
  expect_one_result_at_the_end(lines);
  EXPECT_EQ(lines.back()["status"], "answered");
  EXPECT_EQ(lines.back()["verify"]["exit"], 0);
  EXPECT_THAT(lines.back()["patch"].get<std::string>(), HasSubstr("+++ b/kettle.py"));
  EXPECT_EQ(lines.front()["n"], 0);
}

TEST_F(Run, ReportsAnAnswerThatDoesNotHold) {
  const Finished run = fathom({"run", "--json", "--verify", "exit 5", "--max-steps", "20", kTask});

  EXPECT_EQ(run.exit, 3) << run.output << run.error;
  EXPECT_EQ(lines_of(run.output).back()["status"], "unverified");
  EXPECT_EQ(lines_of(run.output).back()["verify"]["exit"], 5);
}

TEST_F(Run, WritesOnlyTheAnswerToAPipe) {
  const Finished run = fathom({"run", "--max-steps", "20", kTask});

  EXPECT_EQ(run.exit, 0) << run.error;
  EXPECT_EQ(run.error, "");
  EXPECT_THAT(run.output, testing::Not(HasSubstr("\x1b")));
  EXPECT_EQ(run.output.back(), '\n');
}

TEST_F(Run, EndsCleanlyOnASignalAndGoesOn) {
  for (const auto& [signal, code] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    Start start = command({"run", "--json", "--include-deltas", kTask});
    bool sent = false;
    start.on_output = [&, number = signal](pid_t child, std::string_view output) {
      if (sent || output.find("\"delta\"") == std::string_view::npos) return;
      sent = true;
      ::kill(child, number);
    };

    const Finished run = run_process(start);

    EXPECT_EQ(run.exit, code) << run.output << run.error;
    EXPECT_EQ(lines_of(run.output).back()["status"], "cancelled");
    EXPECT_EQ(lines_of(run.output).back()["exit"], code);
  }
  const Finished next = fathom({"run", "--json", "-c", "--max-steps", "20", kTask});
  expect_one_result_at_the_end(lines_of(next.output));
  EXPECT_GT(lines_of(next.output).front()["n"], 0);
}

TEST_F(Run, RefusesToStartWithoutATask) {
  const Finished run = fathom({"run"});

  EXPECT_EQ(run.exit, 2);
  EXPECT_THAT(run.error, HasSubstr("there is no task"));
  EXPECT_EQ(fathom({"run", "-"}).exit, 2);
}

TEST_F(Run, TakesTheTaskFromStandardInput) {
  Start start = command({"run", "--json", "--max-steps", "1", "-"});
  start.input = "What is in kettle.py?\n";
  EXPECT_EQ(lines_of(run_process(start).output).at(1)["text"], "What is in kettle.py?");

  start.argv.back() = "Read this.";
  EXPECT_EQ(lines_of(run_process(start).output).at(1)["text"],
            "Read this.\n\n<stdin>\nWhat is in kettle.py?\n</stdin>");
}

TEST_F(Run, GivesProgramsAResultAlsoWhenThereIsNoModel) {
  const Finished run = fathom({"run", "--json", "--model", "/nowhere", kTask});

  EXPECT_EQ(run.exit, 9);
  EXPECT_EQ(lines_of(run.output).size(), 1U);
  EXPECT_EQ(lines_of(run.output).back()["status"], "no_engine");
  EXPECT_THAT(run.error, HasSubstr("/nowhere"));
}

TEST_F(Run, EndsWithItsOwnStatusWhereThereIsNoSandbox) {
  Start start = command({"run", "--json", kTask});
  start.environment.push_back("FATHOM_TEST_MISSING=userns");
  const Finished run = run_process(start);

  EXPECT_EQ(run.exit, 8);
  EXPECT_EQ(lines_of(run.output).back()["status"], "no_sandbox");
  EXPECT_THAT(run.error, HasSubstr("user-namespace"));

  // Whoever runs no command needs none.
  start.argv.insert(start.argv.end() - 1, {"--max-steps", "1", "--tools", "read_file"});
  EXPECT_EQ(lines_of(run_process(start).output).back()["status"], "budget");
}

TEST_F(Run, TellsItsCommandsWhichConversationTheyBelongTo) {
  const Finished run = fathom(
      {"run", "--json", "--max-steps", "20", "--verify", "echo $FATHOM_CONVERSATION", kTask});

  const Json result = lines_of(run.output).back();
  EXPECT_EQ(result["verify"]["text"], result["conversation"]);
}

TEST_F(Run, IsListedShownAndExported) {
  const Finished run = fathom({"run", "--json", "--max-steps", "1", kTask});
  const std::string id = lines_of(run.output).back()["conversation"];

  const Finished list = fathom({"conversation", "list", "--json"});
  EXPECT_EQ(lines_of(list.output).at(0)["id"], id);
  EXPECT_EQ(lines_of(list.output).at(0)["title"], kTask);
  EXPECT_EQ(fathom({"conversation", "export", id.substr(0, 20)}).output, run.output);
  EXPECT_THAT(fathom({"conversation", "show", id}).output, HasSubstr(kTask));
  EXPECT_NE(fathom({"conversation", "show", "NOPE"}).exit, 0);
}

TEST_F(Run, KeepsNothingWhenItIsEphemeral) {
  fathom({"run", "--ephemeral", "--max-steps", "1", kTask});

  EXPECT_FALSE(std::filesystem::exists(store()));
}

// The points are spread over what the run writes, so they mean the same on every machine.
TEST_F(Run, LosesNothingWhenItIsKilled) {
  constexpr int kPoints = 20;
  const std::vector<std::string> arguments = {"run",         "--json", "--include-deltas",
                                              "--max-steps", "3",      kTask};
  const std::size_t whole = fathom(arguments).output.size();
  for (int point = 0; point < kPoints; ++point) {
    const std::size_t bytes = whole * static_cast<std::size_t>(point) / kPoints;
    Start start = command(arguments);
    start.on_output = [bytes](pid_t child, std::string_view output) {
      if (output.size() > bytes) ::kill(child, SIGKILL);
    };
    const Finished killed = run_process(start);
    std::int64_t seen = -1;
    std::istringstream stream(killed.output);
    for (std::string line; std::getline(stream, line) && !stream.eof();) {
      seen = std::max(seen, Json::parse(line).value("n", std::int64_t{-1}));
    }

    const memory::Store store(this->store());
    const auto latest = store.list(1).at(0);
    EXPECT_LT(seen, latest.events);
    EXPECT_EQ(std::ssize(store.events(latest.id)), latest.events);
  }
  const Finished next = fathom({"run", "--json", "-c", "--max-steps", "1", "Go on."});
  EXPECT_EQ(lines_of(next.output).back()["type"], "result");
}

}  // namespace
}  // namespace fathom::tests
