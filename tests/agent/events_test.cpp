// The stream of events: numbered without gaps, durable before it is seen, ended by one result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/error.h"
#include "agent/journal.h"
#include "scripted_agent.h"

namespace fathom::tests {
namespace {

using agent::TurnEnd;

std::string look() {
  return calls({call("look", {})});
}

TEST(Events, AreNumberedWithoutGapsAcrossTurnsAndProcesses) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [](std::stop_token) { return ok("x"); })};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>one");
  it.model->replies("c</think>two");
  it.turn("first");
  it.turn("second");
  const auto before = static_cast<std::int64_t>(it.sink.events.size());
  for (std::int64_t n = 0; n < before; ++n) {
    EXPECT_EQ(it.sink.events[static_cast<std::size_t>(n)].n, n);
  }

  it.restart();
  it.model->replies("d</think>three");
  it.turn("third");

  EXPECT_EQ(it.sink.events.front().type, "start");
  EXPECT_EQ(it.sink.events.front().n, before);
  EXPECT_EQ(it.sink.all("turn").at(0).fields["turn"], 3);
}

TEST(Events, AreStoredAsTheyAreShownAndBefore) {
  ScriptedAgent it;
  it.model->replies("a</think>Done.");
  it.sink.on_event = [&it](const agent::Event& event) {
    const auto stored = it.store.events(it.store.list(1).at(0).id, event.n);
    ASSERT_EQ(stored.size(), 1U) << event.type;
    EXPECT_EQ(stored[0].json, event.json().dump());
  };

  EXPECT_EQ(it.turn("go").end, TurnEnd::answered);
}

TEST(Events, BeginWithTheFieldsOfTheirFormat) {
  const agent::Event event{.n = 3, .t = 8, .type = "note", .fields = {{"kind", "mode"}}};

  EXPECT_EQ(event.json().dump(), R"({"v":1,"n":3,"t":8,"type":"note","kind":"mode"})");
}

TEST(Events, HaveOneResultAndItIsTheLastHoweverATurnEnds) {
  for (const char* how : {"answer", "stop", "throw", "budget", "store"}) {
    ScriptedAgent it;
    it.tools = {scripted_tool("look", [&it, how](std::stop_token) {
      if (how == std::string("stop")) it.stop.request_stop();
      return ok("x");
    })};
    if (how == std::string("budget")) it.options.budget.steps = 1;
    it.model->replies("a</think>" + look());
    it.model->replies("b</think>one");
    int syncs = 0;
    it.model->on_sync = [&] {
      if (how == std::string("throw") && ++syncs == 2) throw std::runtime_error("no");
    };
    if (how == std::string("store")) {
      // Somebody else goes on with the conversation: our next event does not follow any more.
      it.sink.on_event = [&it](const agent::Event& event) {
        if (event.type != "prefill") return;
        memory::Entry theirs;
        theirs.event = {.n = event.n + 1, .t = 0, .type = "note", .json = "{}"};
        it.store.append(it.store.list(1).at(0).id, theirs);
      };
    }

    it.turn("go");

    EXPECT_EQ(it.sink.all("result").size(), 1U) << how;
    EXPECT_EQ(it.sink.events.back().type, "result") << how;
  }
}

TEST(Events, CountTheDraftsOfEachStep) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [](std::stop_token) { return ok("x"); })};
  it.model->drafts_each = {.drafted = 3, .accepted = 2};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>done");

  it.turn("go");

  std::int64_t drafted = 0;
  for (const agent::Event& step : it.sink.all("step")) {
    // All but the last token of a reply are appended.
    EXPECT_EQ(step.fields.at("drafted"), 3 * (step.fields.at("sampled").get<int>() - 1));
    EXPECT_EQ(step.fields.at("accepted"), 2 * (step.fields.at("sampled").get<int>() - 1));
    drafted += step.fields.at("drafted").get<int>();
  }
  EXPECT_GT(drafted, 0);
  EXPECT_EQ(it.sink.result()["usage"]["drafted"], drafted);
}

TEST(Events, CarryTheWholeTextOfTheirDeltas) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [](std::stop_token) { return ok("größer → kleiner"); })};
  it.model->replies("Ich schaue nach: „größer“.</think>Moment …" + look());
  it.model->replies("b</think>✓ done");

  it.turn("go");

  EXPECT_TRUE(it.sink.gaps.empty());
  EXPECT_EQ(it.sink.items["t1.s1.think"], it.sink.all("thinking").at(0).fields["text"]);
  EXPECT_EQ(it.sink.items["t1.s1.text"], it.sink.all("text").at(0).fields["text"]);
  EXPECT_EQ(it.sink.items["t1.s1.k1.out"], it.sink.all("outcome").at(0).fields["text"]);
  EXPECT_EQ(it.sink.items["t1.s2.text"], "✓ done");
}

TEST(Events, SayOfEveryStepHowManyExpertsWereInMemory) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [](std::stop_token) { return ok("x"); })};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>one");
  it.model->reads = engine::ExpertReads{.needed = 1000, .hits = 10};
  it.model->on_token = [&it](int) {
    it.model->reads->needed += 4;
    it.model->reads->hits += 3;
    it.model->reads->bytes += 100;
  };

  it.turn("go");

  for (const agent::Event& step : it.sink.all("step")) {
    const auto& experts = step.fields["experts"];
    EXPECT_EQ(experts["hit_rate"], 0.75);
    EXPECT_EQ(experts["read_bytes"], 25 * experts["needed"].get<int>());
  }
  EXPECT_EQ(it.sink.all("step").size(), 2U);
}

TEST(Events, SayNothingOfExpertsThatAreAllMapped) {
  ScriptedAgent it;
  it.model->replies("a</think>one");

  it.turn("go");

  EXPECT_FALSE(it.sink.all("step").at(0).fields.contains("experts"));
}

TEST(Events, AbandonWritesTheResultAndNothingFollows) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [&it](std::stop_token) {
    it.agent().abandon();  // as the second Ctrl-C does, from its own thread
    return ok("too late");
  })};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>one");

  it.turn("go");

  EXPECT_EQ(it.sink.events.back().type, "result");
  EXPECT_EQ(it.sink.result()["status"], "cancelled");
  EXPECT_EQ(it.sink.result()["exit"], 130);
  EXPECT_TRUE(it.sink.all("outcome").empty());
}

TEST(Conversation, GoesOnAfterAKillAtEveryEvent) {
  // The sink throws after the n-th event, as if the process had ended there: what was stored until
  // then must be enough to go on.
  for (std::size_t last = 1; last < 12; ++last) {
    ScriptedAgent it;
    it.tools = {scripted_tool("look", [](std::stop_token) { return ok("seen"); })};
    it.model->replies("a</think>Hm." + look());
    it.model->replies("b</think>one");
    struct Killed {};
    bool dead = false;
    it.sink.on_event = [&](const agent::Event&) {
      if (it.sink.events.size() == last) dead = true;
      if (dead) it.model->on_sync = [] { throw std::runtime_error("killed"); };
    };
    it.turn("go");
    it.sink.on_event = {};

    it.restart();
    it.tools = {scripted_tool("look", [](std::stop_token) { return ok("seen"); })};
    it.model->replies("c</think>I am back.");
    const agent::TurnResult result = it.turn("and now?");

    EXPECT_EQ(result.text, "I am back.") << last;
    const std::string prompt = it.model->text(it.model->prompts.back());
    EXPECT_NE(prompt.find("and now?<｜Assistant｜><think>"), std::string::npos) << prompt;
    EXPECT_EQ(prompt.find("<｜Assistant｜><｜"), std::string::npos) << prompt;
  }
}

TEST(Conversation, IsNotContinuedWithAnotherVocabulary) {
  ScriptedAgent it;
  it.model->replies("a</think>one");
  it.turn("go");

  it.restart();
  it.model->card_.vocabulary = "another";

  EXPECT_THROW(it.agent(), agent::Error);
}

}  // namespace
}  // namespace fathom::tests
