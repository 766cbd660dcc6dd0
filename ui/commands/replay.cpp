// `fathom conversation replay`: samples a stored conversation again and compares.
#include "agent/replay.h"

#include <stdexcept>
#include <string>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/desk.h"
#include "tools/toolbox.h"
#include "ui/commands/conversation.h"
#include "ui/commands/engine_options.h"
#include "ui/commands/interrupt.h"
#include "ui/commands/model_path.h"
#include "ui/json_lines.h"

namespace fathom::ui {
namespace {

constexpr int kExitDiffers = 1;
constexpr int kExitStopped = 130;

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void show(const agent::ReplayedStep& step, bool json) {
  const bool same = step.same == step.tokens;
  if (json) {
    nlohmann::ordered_json line = {{"turn", step.id.turn},
                                   {"step", step.id.step},
                                   {"tokens", step.tokens},
                                   {"same", step.same}};
    if (!same) {
      line["recorded"] = step.recorded;
      line["now"] = step.now;
    }
    write_all(STDOUT_FILENO,
              line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else if (same) {
    write_all(STDOUT_FILENO, fmt::format("step {}.{}  {:>6} tokens  same\n", step.id.turn,
                                         step.id.step, step.tokens));
  } else {
    write_all(
        STDOUT_FILENO,
        fmt::format("step {}.{}  {:>6} tokens  differs at {}: recorded {}, now {}\n", step.id.turn,
                    step.id.step, step.tokens, step.same, quoted(step.recorded), quoted(step.now)));
  }
}

}  // namespace

int replay_conversation(const ConversationOptions& options) {
  const memory::Store store =
      memory::Store::reader(options.store.empty() ? memory::Store::default_path() : options.store);
  const std::string id = store.find(options.id);
  const std::filesystem::path path = find_model(options.model.path);
  const auto engine = load_engine(path, engine_options(options.model), options.model);
  const auto model = agent::engine_model(engine, path.filename().string());
  const std::string fingerprint = store.conversation(id)->fingerprint;
  if (fingerprint != engine->fingerprint()) {
    fmt::print(stderr, "computed with {}, now with {}: the same ids are not promised\n",
               fingerprint, engine->fingerprint());
  }
  tools::Desk desk(tools::DeskOptions{.workspace = ".", .kept = {}}, sandbox::Policy{});
  std::vector<agent::prompt::DeclaredTool> tools;
  for (const tools::Tool& tool : tools::standard_tools(desk)) {
    tools.push_back(agent::prompt::declared_tool(tool.schema));
  }
  Interrupt interrupt;
  const agent::Replayed replayed = agent::replay(
      *model, store, id, tools, [&](const agent::ReplayedStep& step) { show(step, options.json); },
      interrupt.token());
  if (!options.json) {
    write_all(STDOUT_FILENO, fmt::format("{} of {} steps came out again, {} tokens in all\n",
                                         replayed.same_steps, replayed.steps, replayed.tokens));
  }
  if (replayed.stopped) return kExitStopped;
  return replayed.same_steps == replayed.steps ? 0 : kExitDiffers;
}

}  // namespace fathom::ui
