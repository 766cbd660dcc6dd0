// What stands before the first message: its parts, what replaces it, and what that costs.
#include "agent/opening.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/error.h"
#include "agent/prompt/constants.h"
#include "scripted_agent.h"

namespace fathom::tests {
namespace {

using agent::Mode;
using agent::Opening;
using agent::prompt::Effort;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr const char* kSchema = R"({"name":"look","parameters":{"type":"object"}})";

// The text of each part, in order.
std::vector<std::string> parts_of(const Opening& opening, const std::vector<std::string>& schemas) {
  const ScriptedModel model;
  const auto rendered = agent::render(opening, schemas, engine::Family::v0731, model.tokenizer());
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < rendered.parts.size(); ++i) {
    const auto begin = static_cast<std::size_t>(rendered.parts[i].position);
    const auto end = i + 1 < rendered.parts.size()
                         ? static_cast<std::size_t>(rendered.parts[i + 1].position)
                         : rendered.tokens.size();
    texts.push_back(model.text(std::span(rendered.tokens).subspan(begin, end - begin)));
  }
  return texts;
}

TEST(Opening, HasItsPartsWhereTheirTextsAre) {
  const auto texts = parts_of({.effort = Effort::high,
                               .system = "You fix code.",
                               .instructions = "# AGENTS.md\nUse tabs.",
                               .tools = {"look"}},
                              {kSchema});
  ASSERT_EQ(texts.size(), 4U);
  EXPECT_THAT(texts[0], HasSubstr("Reasoning Effort"));
  EXPECT_THAT(texts[1], HasSubstr("You fix code"));
  EXPECT_THAT(texts[2], HasSubstr("Use tabs"));
  EXPECT_THAT(texts[3], HasSubstr("\"look\""));
}

TEST(Opening, HasNoPartThatIsEmpty) {
  EXPECT_EQ(parts_of({.system = "You fix code."}, {}).size(), 1U);
  EXPECT_EQ(parts_of({.system = "You fix code.", .tools = {"look"}}, {kSchema}).size(), 2U);
}

TEST(Opening, SaysWhatChanges) {
  const Opening one{.system = "S\n\nI", .tools = {"look"}};
  EXPECT_EQ(agent::changes(one, {.system = "S", .instructions = "I", .tools = {"look"}}), "");
  EXPECT_EQ(agent::changes(one, {.effort = Effort::max, .system = "T", .tools = {"look"}}),
            "the effort text and the system text");
  EXPECT_EQ(agent::changes(one, {.system = "S\n\nI"}), "the tools");
}

// A conversation of one turn, and the agent of another run that goes on with it.
class Resumed : public testing::Test {
 protected:
  Resumed() {
    begin(Mode::think);
    it_.profile.system = "You write poems.";
    go_on();
  }

  void begin(Mode mode) {
    it_.model->card_.family = engine::Family::v0731;
    it_.model->replies("One.</think>Done.");
    it_.turn("go", mode);
  }
  void go_on() {
    it_.restart();
    it_.model->card_.family = engine::Family::v0731;
    it_.model->replies("Two.</think>Done.");
    it_.model->replies("Three.</think>Done.");
  }
  std::string prompt() const { return it_.model->text(it_.model->prompts.back()); }
  std::vector<std::string> costs() const {
    std::vector<std::string> texts;
    for (const auto& event : it_.sink.all("cache")) texts.push_back(event.fields["text"]);
    return texts;
  }

  ScriptedAgent it_;
};

TEST_F(Resumed, KeepsItsOpeningWhateverTheProfileSays) {
  it_.turn("and again");
  EXPECT_THAT(prompt(), HasSubstr("You fix code."));
  EXPECT_THAT(costs(), ElementsAre());
}

TEST_F(Resumed, TellsWhatAnotherSystemTextCostsBeforeItIsPaid) {
  it_.options.replaces_system = true;
  const int before = static_cast<int>(it_.store.tokens(it_.store.list(1)[0].id).size());
  ASSERT_GT(before, 0);

  it_.turn("and again");

  EXPECT_THAT(prompt(), HasSubstr("You write poems."));
  EXPECT_THAT(prompt(), Not(HasSubstr("You fix code.")));
  EXPECT_THAT(it_.sink.types(), ElementsAre("start", "turn", "cache", "prefill", "thinking", "text",
                                            "step", "result"));
  const auto cache = it_.sink.all("cache").at(0).fields;
  const auto prefill = it_.sink.all("prefill").at(0).fields;
  EXPECT_EQ(cache["kind"], "costs");
  EXPECT_EQ(cache["changed"], "the system text");
  EXPECT_GT(cache["tokens"], 0);
  EXPECT_LE(cache["tokens"], prefill["done"]);
  EXPECT_GT(cache["seconds"], 0.0);
}

TEST_F(Resumed, PaysOnce) {
  it_.options.replaces_system = true;
  it_.turn("and again");
  it_.turn("and once more");
  EXPECT_EQ(costs().size(), 1U);
  it_.options.replaces_system = false;
  go_on();
  it_.turn("and again");
  EXPECT_THAT(prompt(), HasSubstr("You write poems."));
  EXPECT_THAT(costs(), ElementsAre());
}

TEST_F(Resumed, TellsWhatOtherToolsCost) {
  it_.tools = {scripted_tool("look", [](std::stop_token) { return ok("fine"); })};
  it_.profile.render_tools = true;
  it_.options.replaces_tools = true;
  it_.turn("and again");
  EXPECT_THAT(costs(), ElementsAre(StartsWith("The tools changed: ")));
  EXPECT_THAT(prompt(), HasSubstr("\"look\""));
}

TEST_F(Resumed, ChangesItsOpenersForNothing) {
  it_.turn("and again");
  for (const Mode mode : {Mode::fast, Mode::automatic, Mode::think, Mode::fast}) {
    it_.turn("and again", mode);
    const auto prefill = it_.sink.all("prefill").back().fields;
    EXPECT_LT(prefill["done"], 30);
  }
  EXPECT_THAT(costs(), ElementsAre());
}

TEST_F(Resumed, TellsWhatAnEffortTextCosts) {
  it_.turn("and again", Mode::high);
  EXPECT_THAT(costs(), ElementsAre(StartsWith("The effort text changed: ")));
  EXPECT_THAT(prompt(), HasSubstr(std::string(agent::prompt::kEffortA)));
  EXPECT_EQ(it_.sink.all("step").back().fields["mode_used"], "high");

  it_.turn("and again", Mode::fast);
  EXPECT_THAT(prompt(), HasSubstr(std::string(agent::prompt::kEffortA)));
  EXPECT_EQ(costs().size(), 1U) << "an opener is free";

  it_.turn("and again", Mode::think);
  EXPECT_THAT(prompt(), Not(HasSubstr(std::string(agent::prompt::kEffortA))));
  EXPECT_EQ(costs().size(), 2U);
}

TEST_F(Resumed, LowersMaxWhereTheContextIsSmallAndSaysSo) {
  it_.turn("and again", Mode::max);
  EXPECT_THAT(prompt(), HasSubstr(std::string(agent::prompt::kEffortA)));
  EXPECT_EQ(it_.sink.all("note").at(0).fields["kind"], "mode");
  EXPECT_EQ(it_.sink.all("start").at(0).fields["effort"], "high");
}

TEST_F(Resumed, HasItsFirstOpeningAgainWhenItGoesBackBehindTheChange) {
  it_.options.replaces_system = true;
  it_.turn("and again");
  const std::string id = it_.store.list(1)[0].id;
  it_.store.rewind(id, {.turn = 1, .step = 1});

  const auto back = agent::Conversation::resume(it_.store, id, it_.model->card().vocabulary);

  EXPECT_THAT(it_.model->text(back.tokens()), HasSubstr("You fix code."));
  EXPECT_EQ(back.opening().value().system, "You fix code.");
}

}  // namespace
}  // namespace fathom::tests
