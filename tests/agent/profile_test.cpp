// What stands before the first message.
#include "agent/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/error.h"
#include "agent/prompt/render.h"
#include "support/temp_dir.h"
#include "test_paths.h"
#include "tools/desk.h"

namespace fathom::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using tests::TempDir;

TEST(Profile, ComesFromTheModelFolder) {
  const TempDir model;
  model.write("agent.json",
              R"({"system": "Short.", "tools": ["read_file"], "render_tools": false})");

  const Profile profile = load_profile(model.path());

  EXPECT_EQ(profile.system, "Short.");
  EXPECT_THAT(profile.tools, ElementsAre("read_file"));
  EXPECT_FALSE(profile.render_tools);
  EXPECT_EQ(profile.temperature, 0);
}

TEST(Profile, IsTheBuiltInOneForOtherModels) {
  const TempDir model;

  const Profile profile = load_profile(model.path());

  EXPECT_THAT(profile.tools,
              ElementsAre("run_command", "read_file", "write_file", "edit_file", "search_files"));
  EXPECT_TRUE(profile.render_tools);
  EXPECT_EQ(profile.temperature, 1);
  EXPECT_THAT(profile.system, HasSubstr("Fathom"));
}

TEST(Profile, FitsIntoTwoThousandTokensWithItsTools) {
  const std::filesystem::path words = FATHOM_BUILD "/../data/tokenizer.json";
  if (!std::filesystem::exists(words)) GTEST_SKIP() << "needs the tokenizer.json of V4: " << words;
  const TempDir dir;
  tools::Desk desk({.workspace = dir.path()}, sandbox::Policy());
  prompt::Request request;
  request.messages.emplace_back();
  request.messages[0].role = prompt::Role::system;
  request.messages[0].content = system_text(load_profile(dir.path()));
  for (const tools::Tool& tool : tools::standard_tools(desk)) {
    request.tools.push_back(tool.schema);
  }

  const auto tokens = prompt::encode(*prompt::render(request), *engine::Tokenizer::load(words));

  EXPECT_GT(tokens.size(), 800U);
  EXPECT_LT(tokens.size(), 2000U);
}

TEST(Profile, NamesTheFileThatIsWrong) {
  const TempDir model;
  for (const char* text : {"", "[]", R"({"system": 5, "tools": []})", R"({"tools": []})"}) {
    const auto file = model.write("agent.json", text);
    try {
      load_profile(model.path());
      ADD_FAILURE() << "accepted " << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(file.string()));
    }
  }
}

TEST(Instructions, AreThoseOfTheWorkspace) {
  const TempDir dir;
  EXPECT_EQ(read_instructions(dir.path()), "");
  dir.write("CLAUDE.md", "Be kind.\n\n");
  EXPECT_EQ(read_instructions(dir.path()), "# CLAUDE.md\nBe kind.");
  dir.write("AGENTS.md", "Be brief.\n");
  EXPECT_EQ(read_instructions(dir.path()), "# AGENTS.md\nBe brief.");
}

TEST(Instructions, AreCutAtALineAndSaySo) {
  const TempDir dir;
  std::string text;
  while (text.size() < 40'000) text += "one more rule to follow\n";
  dir.write("AGENTS.md", text);

  const std::string read = read_instructions(dir.path());

  EXPECT_LT(read.size(), 33'000U);
  EXPECT_THAT(read, testing::EndsWith("follow\n[… AGENTS.md is longer: read_file AGENTS.md]"));
}

TEST(Instructions, NeverComeFromOutside) {
  const TempDir dir, outside;
  outside.write("secret", "key");
  std::filesystem::create_symlink(outside.path() / "secret", dir.path() / "AGENTS.md");

  EXPECT_EQ(read_instructions(dir.path()), "");
}

TEST(SystemText, HasTheInstructionsAfterIt) {
  EXPECT_EQ(system_text({.system = "S", .tools = {}, .instructions = "# AGENTS.md\nA"}),
            "S\n\n# AGENTS.md\nA");
}

}  // namespace
}  // namespace fathom::agent
