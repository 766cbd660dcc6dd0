// The loop: how a turn ends, what each step computes, what the model sees.
#include <csignal>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/outcome_budget.h"
#include "engine/error.h"
#include "scripted_agent.h"
#include "tools/error.h"

namespace fathom::tests {
namespace {

using agent::Mode;
using agent::TurnEnd;
using testing::ElementsAre;
using testing::HasSubstr;

// Counts how often it ran.
struct Counter {
  std::shared_ptr<int> runs = std::make_shared<int>(0);

  tools::Tool tool(std::string name, tools::Outcome outcome = ok("fine")) const {
    return scripted_tool(std::move(name), [runs = runs, outcome](std::stop_token) {
      ++*runs;
      return outcome;
    });
  }
};

std::string look(std::string_view value = "x") {
  return calls({call("look", {{.name = "a", .value = std::string(value)}})});
}

TEST(Turn, AnswersWithoutCalls) {
  ScriptedAgent it;
  it.model->replies("Easy.</think>Done.");

  const agent::TurnResult result = it.turn("hello");

  EXPECT_EQ(result.end, TurnEnd::answered);
  EXPECT_EQ(result.exit, 0);
  EXPECT_EQ(result.text, "Done.");
  EXPECT_THAT(it.sink.types(),
              ElementsAre("start", "turn", "prefill", "thinking", "text", "step", "result"));
}

TEST(Turn, RunsCallsAndGoesOnUntilAnswered) {
  ScriptedAgent it;
  const Counter counter;
  it.tools = {counter.tool("look")};
  it.model->replies("I look.</think>" + look());
  it.model->replies("Clear.</think>It is x.");

  const agent::TurnResult result = it.turn("what is it?");

  EXPECT_EQ(result.text, "It is x.");
  EXPECT_EQ(*counter.runs, 1);
  EXPECT_THAT(it.model->text(it.model->prompts.at(1)),
              HasSubstr("</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>fine"
                        "</tool_result><｜Assistant｜><think>"));
}

TEST(Turn, KeepsSampledTokensAndPrefillsOnlyWhatIsNew) {
  ScriptedAgent it;
  it.tools = {Counter().tool("look")};
  it.model->replies("One.</think>" + look());
  it.model->replies("Two.</think>" + look("y"));
  it.model->replies("Three.</think>Done.");

  it.turn("go");
  it.model->replies("Four.</think>Again.");
  it.turn("and again");

  for (std::size_t i = 1; i < it.model->prompts.size(); ++i) {
    const auto& before = it.model->prompts[i - 1];
    EXPECT_TRUE(std::equal(before.begin(), before.end(), it.model->prompts[i].begin()));
  }
  // Of the new prompt only the last sampled token, EOS and the next user turn are computed.
  const auto prefills = it.sink.all("prefill");
  ASSERT_EQ(prefills.size(), 4U);
  for (std::size_t i = 1; i < prefills.size(); ++i) {
    const auto& fields = prefills[i].fields;
    const int total = fields["total"], done = fields["done"], reused = fields["reused"];
    EXPECT_EQ(done + reused, total);
    EXPECT_GE(reused, static_cast<int>(it.model->prompts[i - 1].size()));
    EXPECT_LT(done, 60);
  }
}

TEST(Turn, OpensEachStepAsTheModeSays) {
  for (const auto& [mode, expected] : std::vector<std::pair<Mode, std::vector<std::string>>>{
           {Mode::think, {"think", "think", "think"}},
           {Mode::fast, {"fast", "fast", "fast"}},
           {Mode::automatic, {"think", "fast", "think"}}}) {
    ScriptedAgent it;
    it.tools = {Counter().tool("look"), Counter().tool("try", failed("no"))};
    it.model->replies((mode == Mode::fast ? "" : "a</think>") + look());
    it.model->replies((mode == Mode::think ? "a</think>" : "") + calls({call("try", {})}));
    it.model->replies((mode == Mode::fast ? "" : "a</think>") + std::string("Done."));

    EXPECT_EQ(it.turn("go", mode).end, TurnEnd::answered);

    std::vector<std::string> used;
    for (const auto& step : it.sink.all("step")) used.push_back(step.fields["mode_used"]);
    EXPECT_EQ(used, expected);
  }
}

TEST(Turn, NeverThinksLongerThanTheBudget) {
  ScriptedAgent it;
  it.options.budget.think_tokens = 5;
  it.model->replies("one two three four five six seven eight nine ten</think>Done.");

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.text, "Done.");
  const auto thinking = it.sink.all("thinking").at(0).fields;
  EXPECT_EQ(thinking["tokens"], 5);
  EXPECT_EQ(thinking["ended"], "budget");
}

TEST(Turn, EndsAThoughtEarlyWhereItCouldEndByItself) {
  ScriptedAgent it;
  it.options.budget.think_tokens = 8;
  it.model->runner_up = it.model->id("</think>");
  it.model->replies("one two three four five six seven eight nine ten</think>Done.");

  it.turn("go");

  EXPECT_EQ(it.sink.all("thinking").at(0).fields["tokens"], 6);  // three quarters of 8
}

TEST(Turn, CutsAThoughtThatRepeatsItself) {
  ScriptedAgent it;
  std::string thought;
  for (int i = 0; i < 200; ++i) thought += "again and ";
  it.model->replies(thought + "</think>Done.");

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.text, "Done.");
  EXPECT_EQ(it.sink.all("thinking").at(0).fields["ended"], "loop");
}

TEST(Turn, NeverSamplesATokenThatWouldForgeATurn) {
  ScriptedAgent it;
  it.model->replies("hm<｜User｜></think>a<｜User｜><think>b<｜begin▁of▁sentence｜>c");

  it.turn("go");

  const auto record = it.store.tokens(it.agent().conversation()).back();
  for (const char* forbidden : {"<｜User｜>", "<｜begin▁of▁sentence｜>"}) {
    EXPECT_THAT(record.tokens, testing::Not(testing::Contains(it.model->id(forbidden))));
  }
}

TEST(Turn, StopsAtTheStepBudget) {
  ScriptedAgent it;
  it.tools = {Counter().tool("look")};
  it.options.budget.steps = 2;
  for (int i = 0; i < 3; ++i) it.model->replies("a</think>" + look(std::to_string(i)));

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::budget);
  EXPECT_EQ(result.exit, 4);
  EXPECT_EQ(it.sink.result()["error"]["code"], "budget.steps");
  EXPECT_EQ(it.sink.result()["steps"], 2);
}

TEST(Turn, StopsAtTheTokenBudgetInMidCallAndGoesOnLater) {
  ScriptedAgent it;
  const Counter counter;
  it.tools = {counter.tool("look")};
  it.options.budget.tokens = 12;
  it.model->replies("a</think>" + look("a long value that is not going to fit into the budget"));

  EXPECT_EQ(it.turn("go").end, TurnEnd::budget);
  EXPECT_EQ(it.sink.result()["error"]["code"], "budget.tokens");
  EXPECT_EQ(it.sink.result()["usage"]["sampled"], 12);
  EXPECT_EQ(*counter.runs, 0);

  it.model->replies("b</think>ok");
  EXPECT_EQ(it.turn("go on").end, TurnEnd::answered);
}

TEST(Turn, StopsARunningCallWhenTheTimeIsUp) {
  ScriptedAgent it;
  it.options.budget.seconds = 0.05;
  it.tools = {scripted_tool("look", [](std::stop_token stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait(lock, stop, [] { return false; });
    return failed("stopped");
  })};
  it.model->replies("a</think>" + look());

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::budget);
  EXPECT_EQ(it.sink.result()["error"]["code"], "budget.seconds");
  EXPECT_EQ(it.sink.all("outcome").size(), 1U);
}

TEST(Turn, SaysThatTheContextIsFull) {
  ScriptedAgent it;
  it.model->card_.context_limit = 120;
  std::string words;
  for (int i = 0; i < 100; ++i) words += std::to_string(i * 7919) + " ";
  it.model->replies("a</think>" + words);

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::context_full);
  EXPECT_EQ(result.exit, 6);
  EXPECT_LE(it.model->timeline.size(), 120U);
  EXPECT_EQ(it.turn("and now?").end, TurnEnd::context_full);
}

TEST(Turn, GivesEveryCallAnOutcomeAlsoAfterAnInterrupt) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [&it](std::stop_token) {
    it.stop.request_stop();
    return ok("seen");
  })};
  it.model->replies("a</think>" + calls({call("look", {}), call("look", {}), call("look", {})}));

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::cancelled);
  EXPECT_EQ(result.exit, 128 + SIGINT);
  const auto outcomes = it.sink.all("outcome");
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_EQ(outcomes[0].fields["text"], "seen");
  EXPECT_THAT(outcomes[2].fields["text"].get<std::string>(), HasSubstr("Not run"));

  it.stop = {};
  it.model->replies("b</think>ok");
  EXPECT_EQ(it.turn("go on").end, TurnEnd::answered);
  EXPECT_THAT(it.model->text(it.model->prompts.back()),
              HasSubstr("<tool_result>seen</tool_result>\n\n<tool_result>Not run"));
}

TEST(Turn, CutsTheLargestOutcomesOfAStepFirst) {
  ScriptedAgent it;
  const auto lines = [](int count) {
    std::string text = "exit 0";
    for (int line = 0; line < count; ++line) text += fmt::format("\nline {}", line);
    return text;
  };
  std::vector<int> counts = {9'000, 10, 9'000, 20};
  it.tools = {scripted_tool(
      "look", [&, next = 0U](std::stop_token) mutable { return ok(lines(counts[next++])); })};
  it.model->replies("a</think>" + calls({call("look", {}), call("look", {}), call("look", {}),
                                         call("look", {})}));
  it.model->replies("b</think>done");

  EXPECT_EQ(it.turn("go").end, TurnEnd::answered);

  const auto outcomes = it.sink.all("outcome");
  ASSERT_EQ(outcomes.size(), 4U);
  int tokens = 0;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    EXPECT_EQ(outcomes[i].fields["call"], i + 1);
    tokens += outcomes[i].fields["tokens"].get<int>();
  }
  EXPECT_EQ(outcomes[1].fields["text"], lines(10));
  EXPECT_EQ(outcomes[3].fields["text"], lines(20));
  for (const std::size_t large : {0U, 2U}) {
    const std::string text = outcomes[large].fields["text"];
    EXPECT_THAT(text, HasSubstr("lines left out"));
    EXPECT_TRUE(text.starts_with("exit 0\nline 0\n")) << "the later large one gave way alone";
    EXPECT_TRUE(text.ends_with("line 8999"));
  }
  EXPECT_LE(tokens, agent::kStepOutcomeTokens);
  EXPECT_GE(tokens, agent::kStepOutcomeTokens - 500);
}

TEST(Turn, KeepsWhatRanWhenTheNextCallCannotRun) {
  ScriptedAgent it;
  it.tools = {scripted_tool("look", [next = 0](std::stop_token) mutable {
    if (++next == 2) throw tools::NoSandbox("no namespaces here");
    return ok(std::string(60'000, 'x'));
  })};
  it.model->replies("a</think>" + calls({call("look", {}), call("look", {})}));

  EXPECT_EQ(it.turn("go").end, TurnEnd::no_sandbox);

  ASSERT_EQ(it.sink.all("outcome").size(), 1U);
  EXPECT_EQ(it.sink.all("outcome")[0].fields["call"], 1);
}

TEST(Turn, KeepsWhatWasSaidBeforeAnInterrupt) {
  ScriptedAgent it;
  it.model->on_token = [&it](int count) {
    if (count == 3) it.stop.request_stop();
  };
  it.model->replies("one two three four five</think>never said");

  EXPECT_EQ(it.turn("go").end, TurnEnd::cancelled);

  // The thought is closed and the turn ended, so that the timeline stays well formed.
  const auto piece = it.store.tokens(it.agent().conversation()).back().tokens;
  ASSERT_EQ(piece.size(), 7U);  // <｜Assistant｜> <think> 3 tokens </think> EOS
  EXPECT_EQ(piece[5], it.model->id("</think>"));
  EXPECT_EQ(piece[6], it.model->card().eos);
}

TEST(Turn, TellsTheModelWhatWasWrongWithACall) {
  ScriptedAgent it;
  const Counter counter;
  it.tools = {counter.tool("look")};
  it.model->replies("a</think>" + calls({call("grep", {})}));
  it.model->replies("b</think>" + calls({call("look", {{"a", "1"}, {"a", "2"}})}));
  it.model->replies("c</think>" + calls({call("look", {{"n", "many", true}})}));
  it.model->replies(
      "d</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"look\">\n"
      "<｜DSML｜parameter name=\"a\" string=\"true\">never clo");
  it.model->replies("e</think>I give up.");

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.text, "I give up.");
  EXPECT_EQ(*counter.runs, 0);
  const auto outcomes = it.sink.all("outcome");
  ASSERT_EQ(outcomes.size(), 4U);
  const auto text = [&](std::size_t i) { return outcomes[i].fields["text"].get<std::string>(); };
  EXPECT_THAT(text(0), HasSubstr("There is no tool \"grep\""));
  EXPECT_THAT(text(1), HasSubstr("given twice"));
  EXPECT_THAT(text(2), HasSubstr("look"));
  EXPECT_THAT(text(3), HasSubstr("cut off before it ended"));
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.fields["status"], "invalid");
}

TEST(Turn, TellsOfADenialInAnEventOfItsOwn) {
  ScriptedAgent it;
  tools::Outcome outcome = failed("denied: write to /etc/hosts.");
  outcome.status = tools::Status::denied;
  outcome.denied = {{"write", "/etc/hosts", "outside", "The model tried to write /etc/hosts.", 2}};
  it.tools = {scripted_tool("look", [&](std::stop_token) { return outcome; })};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>I may not.");

  it.turn("go");

  const auto denied = it.sink.all("denied");
  ASSERT_EQ(denied.size(), 1U);
  EXPECT_EQ(denied[0].fields["call"], 1);
  EXPECT_EQ(denied[0].fields["target"], "/etc/hosts");
  EXPECT_EQ(denied[0].fields["rule"], "outside");
  EXPECT_EQ(denied[0].fields["count"], 2);
  EXPECT_EQ(denied[0].n, it.sink.all("outcome").at(0).n + 1);
}

TEST(Turn, SaysThatACallWasRepeatedForNothing) {
  ScriptedAgent it;
  tools::Outcome end = failed("exit 1 · 0.1 s · run_command make\nno such test");
  end.exit = 1;
  it.tools = {scripted_tool("run", [&](std::stop_token) { return end; }), Counter().tool("look")};
  it.model->replies("a</think>" + calls({call("run", {{"a", "1"}})}));
  it.model->replies("b</think>" + calls({call("look", {})}));
  it.model->replies("c</think>" + calls({call("run", {{"a", "1"}}), call("run", {{"a", "2"}})}));
  it.model->replies("d</think>" + calls({call("run", {{"a", "1"}})}));
  it.model->replies("e</think>I stop.");

  it.turn("go");

  const auto outcomes = it.sink.all("outcome");
  const auto text = [&](std::size_t i) { return outcomes.at(i).fields["text"].get<std::string>(); };
  EXPECT_EQ(text(2),
            "Same call, same outcome as in step 1, nothing changed since: exit 1, \"no such "
            "test\". Do something different.");
  EXPECT_THAT(text(3), HasSubstr("run_command make"));  // another call
  EXPECT_THAT(text(4), HasSubstr("run_command make"));  // which may have changed anything
  EXPECT_EQ(outcomes.at(2).fields["status"], "failed");
}

TEST(Turn, NoticesThatItGoesInCircles) {
  ScriptedAgent it;
  it.tools = {Counter().tool("look", failed("no"))};
  for (int i = 0; i < 10; ++i) it.model->replies("a</think>" + look());

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::stuck);
  EXPECT_EQ(result.exit, 7);
  EXPECT_EQ(it.sink.result()["steps"], 4);
}

TEST(Turn, SurvivesAToolThatThrows) {
  ScriptedAgent it;
  it.tools = {scripted_tool(
      "look", [](std::stop_token) -> tools::Outcome { throw std::runtime_error("disk on fire"); })};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>It burns.");

  EXPECT_EQ(it.turn("go").end, TurnEnd::answered);

  EXPECT_THAT(it.sink.all("outcome").at(0).fields["text"].get<std::string>(),
              HasSubstr("disk on fire"));
}

TEST(Turn, EndsWhenThereIsNoSandbox) {
  ScriptedAgent it;
  it.tools = {scripted_tool(
      "look", [](std::stop_token) -> tools::Outcome { throw tools::NoSandbox("no namespaces"); })};
  it.model->replies("a</think>" + look());

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::no_sandbox);
  EXPECT_EQ(result.exit, 8);
  EXPECT_EQ(it.sink.result()["error"]["message"], "no namespaces");
}

TEST(Turn, EndsInAResultWhenTheEngineFails) {
  ScriptedAgent it;
  it.model->on_sync = [] { throw engine::Error("no memory for the context"); };

  const agent::TurnResult result = it.turn("go");

  EXPECT_EQ(result.end, TurnEnd::no_engine);
  EXPECT_EQ(result.exit, 9);
  EXPECT_THAT(it.sink.types(), ElementsAre("start", "turn", "error", "result"));
}

TEST(Turn, IsCancelledWhenItsVerificationIs) {
  ScriptedAgent it;
  it.options.verify = [](std::stop_token) {
    return agent::Verdict{.exit = 143, .text = "", .cancelled = true};
  };
  it.model->replies("a</think>All tests pass.");

  EXPECT_EQ(it.turn("go").end, TurnEnd::cancelled);
}

TEST(Turn, ReportsAnAnswerThatDoesNotHold) {
  for (const int exit : {0, 1}) {
    ScriptedAgent it;
    it.options.verify = [exit](std::stop_token) {
      return agent::Verdict{.exit = exit, .text = "1 failed"};
    };
    it.model->replies("a</think>All tests pass.");

    const agent::TurnResult result = it.turn("go");

    EXPECT_EQ(result.end, exit == 0 ? TurnEnd::answered : TurnEnd::unverified);
    EXPECT_EQ(result.exit, exit == 0 ? 0 : 3);
    EXPECT_EQ(it.sink.result()["verify"]["exit"], exit);
  }
}

TEST(Turn, SharesOneBudgetAmongTheOutcomesOfAStep) {
  ScriptedAgent it;
  std::string text = "look\n";
  for (int i = 0; i < 4000; ++i) text += "line " + std::to_string(i) + "\n";
  it.tools = {Counter().tool("look", ok(text))};
  it.model->card_.context_limit = 1 << 20;
  it.model->replies("a</think>" + calls({call("look", {}), call("look", {}), call("look", {})}));
  it.model->replies("b</think>ok");

  it.turn("go");

  int tokens = 0;
  for (const auto& outcome : it.sink.all("outcome")) {
    tokens += outcome.fields["tokens"].get<int>();
    EXPECT_TRUE(outcome.fields["text"].get<std::string>().starts_with("look\n"));
  }
  EXPECT_LE(tokens, 20'000);
  EXPECT_EQ(it.store.outcomes(it.agent().conversation()).at(2).full, text);
}

TEST(Turn, ShowsWhatChangedInTheWorkspace) {
  ScriptedAgent it;
  it.workspace.write("a.txt", "one\n");
  it.tools = {scripted_tool("look", [&it](std::stop_token) {
    it.workspace.write("a.txt", "two\n");
    it.workspace.write("new/b.txt", "b\n");
    return ok("done");
  })};
  it.model->replies("a</think>" + look());
  it.model->replies("b</think>ok");

  it.turn("go");

  const auto& result = it.sink.result();
  EXPECT_EQ(result["files"], (nlohmann::ordered_json{"a.txt", "new/b.txt"}));
  EXPECT_THAT(result["patch"].get<std::string>(), HasSubstr("-one\n+two\n"));
  EXPECT_THAT(result["patch"].get<std::string>(), HasSubstr("+++ b/new/b.txt"));
}

}  // namespace
}  // namespace fathom::tests
