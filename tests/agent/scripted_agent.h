// A whole agent around a scripted model: real files, real tools, real store.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "agent/agent.h"
#include "memory/store.h"
#include "support/recording_sink.h"
#include "support/scripted_model.h"
#include "support/temp_dir.h"
#include "tools/toolbox.h"

namespace fathom::tests {

// A tool that records what it is asked and answers what a test says.
tools::Tool scripted_tool(std::string name, std::function<tools::Outcome(std::stop_token)> run);

tools::Outcome ok(std::string text);
tools::Outcome failed(std::string text);

class ScriptedAgent {
 public:
  ScriptedAgent();

  // The agent, made at the first use: set options, tools and replies before.
  agent::Agent& agent();

  // Goes on with the same conversation as a new process would.
  void restart();
  void resume(std::string conversation);  // one that the store has

  agent::TurnResult turn(std::string_view text, agent::Mode mode = agent::Mode::think) {
    return agent().run_turn({.text = std::string(text), .mode = mode}, stop.get_token());
  }

  TempDir workspace;
  memory::Store store = memory::Store::in_memory();
  RecordingSink sink;
  std::unique_ptr<ScriptedModel> unborn = std::make_unique<ScriptedModel>();
  ScriptedModel* model = unborn.get();  // also once the agent owns it
  std::vector<tools::Tool> tools;
  agent::AgentOptions options;
  agent::Profile profile{
      .system = "You fix code.", .tools = {}, .render_tools = false, .instructions = {}};
  std::stop_source stop;

 private:
  std::string conversation_;
  std::unique_ptr<agent::Agent> agent_;
};

}  // namespace fathom::tests
