// A whole agent around a scripted model.
#include "scripted_agent.h"

#include <utility>

#include <fmt/format.h>

namespace fathom::tests {

tools::Tool scripted_tool(std::string name, std::function<tools::Outcome(std::stop_token)> run) {
  tools::Tool tool;
  tool.schema = fmt::format(
      R"({{"name":"{}","description":"","parameters":{{"type":"object","properties":{{"a":)"
      R"({{"type":"string"}},"n":{{"type":"integer"}}}}}}}})",
      name);
  tool.name = std::move(name);
  tool.effect = tools::Effect::reads;
  tool.run = [run = std::move(run)](const tools::Arguments&, const tools::OutputCallback& output,
                                    std::stop_token stop) {
    tools::Outcome outcome = run(std::move(stop));
    output(outcome.text);
    return outcome;
  };
  return tool;
}

tools::Outcome ok(std::string text) {
  tools::Outcome outcome;
  outcome.text = std::move(text);
  return outcome;
}

tools::Outcome failed(std::string text) {
  tools::Outcome outcome = ok(std::move(text));
  outcome.status = tools::Status::failed;
  outcome.exit = 1;
  return outcome;
}

ScriptedAgent::ScriptedAgent() {
  options.workspace = workspace.path();
  options.program_version = "test";
  options.seed = 7;
  options.sandbox = {{"tier", "none"}, {"network", "off"}};
}

agent::Agent& ScriptedAgent::agent() {
  if (agent_) return *agent_;
  const agent::ModelCard& card = model->card();
  agent::Conversation conversation =
      conversation_.empty() ? agent::Conversation(store, {.workspace = workspace.path().string(),
                                                          .model = card.name,
                                                          .fingerprint = card.fingerprint,
                                                          .vocabulary = card.vocabulary})
                            : agent::Conversation::resume(store, conversation_, card.vocabulary);
  conversation_ = conversation.id();
  agent_ = std::make_unique<agent::Agent>(
      agent::AgentParts{.model = std::move(unborn),
                        .borrowed = nullptr,
                        .toolbox = std::make_unique<tools::Toolbox>(tools),
                        .store = store,
                        .sink = sink,
                        .profile = profile},
      std::move(conversation), options);
  return *agent_;
}

void ScriptedAgent::restart() {
  agent_.reset();
  unborn = std::make_unique<ScriptedModel>();
  model = unborn.get();
  sink.events.clear();
}

void ScriptedAgent::resume(std::string conversation) {
  conversation_ = std::move(conversation);
}

}  // namespace fathom::tests
