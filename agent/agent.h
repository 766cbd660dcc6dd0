// The loop of one conversation: render, generate, act, repeat.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "agent/conversation.h"
#include "agent/events.h"
#include "agent/model.h"
#include "agent/profile.h"
#include "engine/sampler.h"
#include "memory/store.h"
#include "tools/toolbox.h"

namespace fathom::agent {

// How deep a step thinks. automatic decides per step whether it opens with <think>, as fast and
// think do for all: that is free. high and max put a text before everything else, think takes it
// away again: then all tokens are computed again, which is announced.
enum class Mode { automatic, fast, think, high, max };

// How a turn ended; the names are those of result.status.
enum class TurnEnd {
  answered,
  unverified,    // the command given with --verify failed
  budget,        // a limit of Budget
  context_full,  // no token fits any more
  stuck,         // the same calls, or the same tokens, again and again
  cancelled,     // asked to stop
  failure,       // ours
  no_sandbox,    // calls cannot be isolated, so none ran
  no_engine      // the model cannot compute
};

std::string_view name(TurnEnd end) noexcept;
std::string_view name(Mode mode) noexcept;
int exit_code(TurnEnd end) noexcept;  // of the README's table; cancelled: that of SIGINT
std::optional<Mode> mode_by_name(std::string_view name) noexcept;  // "auto", "max", …

// Limits of one turn; 0: none.
struct Budget {
  int think_tokens = 0;  // of one step: soft from three quarters on, never exceeded
  int steps = 0;
  int tokens = 0;  // sampled, in all
  double seconds = 0;
};

// What the command given with --verify said.
struct Verdict {
  int exit = 0;
  std::string text;
  bool cancelled = false;  // a Ctrl-C reached it before the turn heard of it
};

struct AgentOptions {
  Budget budget;
  engine::Sampling sampling;
  std::uint64_t seed = 0;
  std::filesystem::path workspace = ".";
  std::string program_version;
  nlohmann::ordered_json sandbox;  // for the start event: {"tier":…,"network":…}

  // Of a conversation that is resumed: what of its opening the profile, or the toolbox, replaces.
  bool replaces_system = false;
  bool replaces_tools = false;

  // Runs after an answer; empty: nothing is verified.
  std::function<Verdict(std::stop_token)> verify;

  // What is wrong with the cache's folder, the first time it is asked; else empty. May be empty.
  std::function<std::string()> cache_trouble;

  // The signal number that asked to stop; empty: SIGINT. Decides between exit 130 and 143.
  std::function<int()> stop_signal;
};

// What begins a turn.
struct Request {
  std::string text;
  Mode mode = Mode::automatic;
  std::string cause = {};  // the id of the command that sent it, kept in the turn event; or empty
};

// What a turn gave, for the caller; the same is in the result event.
struct TurnResult {
  TurnEnd end = TurnEnd::answered;
  int exit = 0;  // of the table in the README
  std::string text;
};

// Everything that one conversation works with. References outlive the agent.
struct AgentParts {
  std::unique_ptr<Model> model;
  std::shared_ptr<void> borrowed;  // what the tools borrow; lives as long as they do
  std::unique_ptr<tools::Toolbox> toolbox;
  memory::Store& store;
  EventSink& sink;
  Profile profile;
};

// Used by one thread at a time, but for abandon().
class Agent {
 public:
  Agent(AgentParts parts, Conversation conversation, AgentOptions options);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  const std::string& conversation() const noexcept;  // its id

  // Runs one turn to its end and never throws: whatever happens, the last event is one `result`.
  // A stop ends it at the next token or kills the running call; files and results are kept.
  TurnResult run_turn(const Request& request, std::stop_token stop);

  // From any thread: writes the result of the running turn now, after which no event follows.
  // For the second Ctrl-C, when the turn's own thread may hang. Does nothing between turns.
  void abandon() noexcept;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace fathom::agent
