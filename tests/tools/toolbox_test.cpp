// What the model reads when a call is wrong before any tool runs.
#include "tools/toolbox.h"

#include <gmock/gmock.h>

#include "sandbox/error.h"
#include "tests/tools/desk_fixture.h"
#include "tools/error.h"

namespace fathom::tools {
namespace {

using ::testing::StartsWith;

Tool tool_that(std::function<Outcome()> run) {
  return {.name = "act",
          .schema = R"({"name":"act","parameters":{"type":"object"}})",
          .run = [run = std::move(run)](const Arguments&, const OutputCallback&, std::stop_token) {
            return run();
          }};
}

using ToolboxTexts = DeskTest;

TEST_F(ToolboxTexts, UnknownToolNamesTheOthersAndTheOneThatIsMeant) {
  const Outcome outcome = call("grep", {{"pattern", "x"}});

  EXPECT_EQ(outcome.status, Status::invalid);
  EXPECT_EQ(outcome.text,
            "There is no tool \"grep\". Tools: run_command, read_file, write_file, edit_file, "
            "search_files. For text search: search_files.");
  EXPECT_EQ(text("frobnicate", nlohmann::ordered_json::object()),
            "There is no tool \"frobnicate\". Tools: run_command, read_file, write_file, "
            "edit_file, search_files.");
}

TEST_F(ToolboxTexts, BadParametersSayWhatIsNeededAndWhatCame) {
  EXPECT_EQ(text("edit_file", {{"path", "a"}, {"old", "b"}}),
            "edit_file needs new (string). Got: path, old.");
  EXPECT_EQ(text("write_file", nlohmann::ordered_json::object()),
            "write_file needs path (string), text (string). Got: nothing.");
  EXPECT_EQ(text("read_file", {{"path", "a"}, {"from", "12"}}),
            "read_file needs from (integer). Got: path, from (string).");
  EXPECT_EQ(text("read_file", {{"path", "a"}, {"to", nullptr}}),
            "read_file needs to (integer). Got: path, to (null).");
  EXPECT_EQ(text("run_command", {{"command", "true"}, {"cwd", "src"}}),
            "run_command has no parameter cwd. It takes: command, dir, timeout_s, wait_s.");
}

TEST_F(ToolboxTexts, ArgumentsMustBeOneJsonObject) {
  EXPECT_EQ(toolbox_->run("read_file", "{\"path\":").text,
            "read_file needs its arguments as one JSON object. Got: {\"path\":.");
  EXPECT_EQ(toolbox_->run("read_file", "[]").text,
            "read_file needs its arguments as one JSON object. Got: array.");
  EXPECT_THAT(toolbox_->run("read_file", std::string(100'000, '[')).text,
              StartsWith("read_file needs its arguments as one JSON object. Got: [[["));
}

TEST(Toolbox, TurnsAFailureInsideAToolIntoText) {
  const Toolbox toolbox({tool_that([]() -> Outcome { throw std::runtime_error("disk full"); })});

  const Outcome outcome = toolbox.run("act", "{}");

  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_EQ(outcome.text, "act failed: disk full");
}

TEST(Toolbox, LetsAMissingSandboxThrough) {
  const Toolbox toolbox({tool_that([]() -> Outcome { throw sandbox::Error("no namespaces"); })});

  EXPECT_THROW(toolbox.run("act", "{}"), sandbox::Error);
}

TEST(Toolbox, RefusesToolsThatCannotBeOffered) {
  const Tool tool = tool_that([] { return Outcome{}; });
  Tool nameless = tool;
  nameless.name = "other";

  EXPECT_THROW(Toolbox({tool, tool}), Error);
  EXPECT_THROW(Toolbox({nameless}), Error);
}

TEST_F(ToolboxTexts, KeepsTheNamedToolsInTheirOrder) {
  toolbox_->keep({"search_files", "read_file"});

  ASSERT_EQ(toolbox_->tools().size(), 2U);
  EXPECT_EQ(toolbox_->tools()[0].name, "search_files");
  EXPECT_EQ(toolbox_->find("run_command"), nullptr);
  EXPECT_THROW(toolbox_->keep({"job"}), Error);
}

}  // namespace
}  // namespace fathom::tools
