// The loop of one conversation.
#include "agent/agent.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <utility>

#include "agent/turn.h"

namespace fathom::agent {
namespace {

constexpr std::array<std::string_view, 5> kModes = {"auto", "fast", "think", "high", "max"};

}  // namespace

struct Agent::Parts {
  Bench bench;
};

std::string_view name(TurnEnd end) noexcept {
  static constexpr std::array<std::string_view, 9> kNames = {
      "answered",  "unverified", "budget",     "context_full", "stuck",
      "cancelled", "failure",    "no_sandbox", "no_engine"};
  return kNames[static_cast<std::size_t>(end)];
}

int exit_code(TurnEnd end) noexcept {
  static constexpr std::array<int, 9> kExits = {0, 3, 4, 6, 7, 128 + SIGINT, 1, 8, 9};
  return kExits[static_cast<std::size_t>(end)];
}

std::optional<Mode> mode_by_name(std::string_view name) noexcept {
  const auto found = std::ranges::find(kModes, name);
  if (found == kModes.end()) return std::nullopt;
  return static_cast<Mode>(found - kModes.begin());
}

std::string_view name(Mode mode) noexcept {
  return kModes[static_cast<std::size_t>(mode)];
}

Agent::Agent(AgentParts parts, Conversation conversation, AgentOptions options) {
  std::vector<prompt::DeclaredTool> declared;
  for (const tools::Tool& tool : parts.toolbox->tools()) {
    declared.push_back(prompt::declared_tool(tool.schema));
  }
  const std::string id = conversation.id();
  const std::int64_t next_n = conversation.events();
  const std::uint64_t seed = options.seed;
  parts_ = std::unique_ptr<Parts>(
      new Parts{.bench = {.model = std::move(parts.model),
                          .borrowed = std::move(parts.borrowed),
                          .toolbox = std::move(parts.toolbox),
                          .profile = std::move(parts.profile),
                          .options = std::move(options),
                          .conversation = std::move(conversation),
                          .journal = Journal(parts.store, id, next_n, parts.sink),
                          .sampler = engine::Sampler(seed),
                          .declared = std::move(declared)}});
}

Agent::~Agent() = default;

const std::string& Agent::conversation() const noexcept {
  return parts_->bench.conversation.id();
}

TurnResult Agent::run_turn(const Request& request, std::stop_token stop) {
  return Turn(parts_->bench, request.mode, std::move(stop)).run(request);
}

void Agent::abandon() noexcept {
  const auto& signal = parts_->bench.options.stop_signal;
  parts_->bench.journal.abandon(name(TurnEnd::cancelled), 128 + (signal ? signal() : SIGINT));
}

}  // namespace fathom::agent
