// Runs a stored conversation again, against its recorded outcomes, and compares what is sampled.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "agent/model.h"
#include "agent/prompt/reply_parser.h"
#include "memory/store.h"

namespace fathom::agent {

// One reply. It came out again if `same` is `tokens`; else recorded and now differ at `same`.
struct ReplayedStep {
  memory::StepId id;
  int tokens = 0;        // of the recorded reply
  int same = 0;          // of them, until the first that differs
  std::string recorded;  // text from there on, a few tokens of it
  std::string now;
};

struct Replayed {
  int steps = 0;
  int same_steps = 0;
  std::int64_t tokens = 0;
  bool stopped = false;
};

// Replays every reply that is still part of the conversation, with the seed and the options its run
// recorded, each on the recorded tokens before it. `tools`: all that this program has. Throws
// agent::Error if the conversation's tokens mean something else to the model.
Replayed replay(Model& model, const memory::Store& store, std::string_view id,
                const std::vector<prompt::DeclaredTool>& tools,
                const std::function<void(const ReplayedStep&)>& on_step, std::stop_token stop);

}  // namespace fathom::agent
