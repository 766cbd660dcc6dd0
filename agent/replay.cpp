// Runs a stored conversation again. The generator is the one that turns use, so budgets, forbidden
// tokens and random numbers are theirs.
#include "agent/replay.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "agent/error.h"
#include "agent/generator.h"
#include "agent/journal.h"
#include "agent/vocabulary.h"
#include "engine/sampler.h"

namespace fathom::agent {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kOpenerTokens = 2;  // of a sampled piece: <｜Assistant｜> and the opener
constexpr std::size_t kShownTokens = 12;

class NobodyListens final : public EventSink {
 public:
  void event(const Event&) override {}
};

// Where a reply lies in the timeline, and which of the openings stood before it.
struct Piece {
  memory::StepId id;
  std::size_t opening = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct Timeline {
  std::vector<std::vector<engine::Token>> openings;
  std::vector<engine::Token> tokens;  // behind the opening
  std::vector<Piece> replies;
};

Timeline timeline_of(const memory::Store& store, std::string_view id) {
  Timeline timeline;
  for (const memory::TokensRecord& record : store.tokens(id)) {
    if (record.turn == 0) {
      timeline.openings.push_back(record.tokens);
      continue;
    }
    const std::size_t begin = timeline.tokens.size();
    timeline.tokens.insert(timeline.tokens.end(), record.tokens.begin(), record.tokens.end());
    if (record.source != memory::TokensRecord::Source::sampled) continue;
    timeline.replies.push_back({.id = {.turn = record.turn, .step = record.step},
                                .opening = timeline.openings.size() - 1,
                                .begin = begin,
                                .end = timeline.tokens.size()});
  }
  return timeline;
}

// What a run samples with, from its start event.
struct Run {
  explicit Run(const Json& start) : sampler(start.value("seed", std::uint64_t{0})) {
    sampling.temperature = start.value("temperature", 0.0);
    think_tokens = start.value("think_budget", 0);
    for (const Json& tool : start.value("tools", Json::array())) names.push_back(tool);
  }

  engine::Sampler sampler;
  engine::Sampling sampling;
  int think_tokens = 0;
  std::vector<std::string> names;
};

class Replay {
 public:
  Replay(Model& model, const memory::Store& store, std::string_view id,
         const std::vector<prompt::DeclaredTool>& tools)
      : model_(model), tools_(tools), timeline_(timeline_of(store, id)) {}

  // Empty if the reply is no longer part of the timeline, or the prefill was stopped.
  std::optional<ReplayedStep> step(Run& run, memory::StepId id, int sampled, std::stop_token stop) {
    const auto piece = std::ranges::find_if(timeline_.replies, [&](const Piece& reply) {
      return reply.id.turn == id.turn && reply.id.step == id.step;
    });
    if (piece == timeline_.replies.end()) return std::nullopt;
    const std::span all(timeline_.tokens);
    std::vector<engine::Token> prompt = timeline_.openings.at(piece->opening);
    const auto before = all.first(piece->begin + kOpenerTokens);
    prompt.insert(prompt.end(), before.begin(), before.end());
    const engine::Prefill prefill = model_.sync(prompt, {}, stop);
    if (prefill.reused + prefill.prefilled < std::ssize(prompt)) return std::nullopt;
    const auto recorded = all.subspan(before.size(), piece->end - before.size());
    const Generated generated = generate(run, prompt, sampled, stop);
    return compare(id, recorded, generated.tokens);
  }

 private:
  Generated generate(Run& run, std::span<const engine::Token> prompt, int sampled,
                     std::stop_token stop) {
    const ModelCard& card = model_.card();
    const Vocabulary words = vocabulary(
        model_.tokenizer(), card.eos, static_cast<int>(model_.logits().size()), !run.names.empty());
    GenerateOptions options{.think = prompt.back() == words.think_open,
                            .think_tokens = run.think_tokens,
                            .tokens = sampled,
                            .sampling = run.sampling,
                            .tools = {}};
    for (const std::string& name : run.names) {
      const auto tool = std::ranges::find(tools_, name, &prompt::DeclaredTool::name);
      if (tool != tools_.end()) options.tools.push_back(*tool);
    }
    NobodyListens nobody;
    memory::Store nowhere = memory::Store::in_memory();
    Journal journal(nowhere, "", 0, nobody);  // never opened, so nothing is written
    Live live;
    live.context_used = static_cast<int>(prompt.size());
    live.context_limit = card.context_limit;
    return Generator(model_, run.sampler, words, journal)
        .generate(options, std::move(live), std::move(stop));
  }

  ReplayedStep compare(memory::StepId id, std::span<const engine::Token> recorded,
                       std::span<const engine::Token> now) const {
    const auto [ours, theirs] = std::ranges::mismatch(recorded, now);
    ReplayedStep step{.id = id,
                      .tokens = static_cast<int>(recorded.size()),
                      .same = static_cast<int>(ours - recorded.begin()),
                      .recorded = {},
                      .now = {}};
    if (ours == recorded.end() && theirs == now.end()) return step;
    // More tokens than recorded also differ: at the last one, which ended the reply.
    step.same = std::min(step.same, step.tokens - 1);
    const auto text = [&](std::span<const engine::Token> tokens) {
      const auto rest = tokens.subspan(std::min<std::size_t>(step.same, tokens.size()));
      return model_.tokenizer().decode(rest.first(std::min(rest.size(), kShownTokens)));
    };
    step.recorded = text(recorded);
    step.now = text(now);
    return step;
  }

  Model& model_;
  const std::vector<prompt::DeclaredTool>& tools_;
  Timeline timeline_;
};

}  // namespace

Replayed replay(Model& model, const memory::Store& store, std::string_view id,
                const std::vector<prompt::DeclaredTool>& tools,
                const std::function<void(const ReplayedStep&)>& on_step, std::stop_token stop) {
  const auto record = store.conversation(id);
  if (!record) throw Error(fmt::format("there is no conversation {}", id));
  if (record->vocabulary != model.card().vocabulary) {
    throw Error(
        fmt::format("conversation {} was held with {}, whose tokens this model does not "
                    "share: name that model with --model",
                    id, record->model));
  }
  Replay replay(model, store, id, tools);
  Replayed replayed;
  std::optional<Run> run;
  for (const memory::EventRecord& event : store.events(id)) {
    if (event.type != "start" && event.type != "step") continue;
    const Json fields = Json::parse(event.json);
    if (event.type == "start") run.emplace(fields);
    if (event.type == "start" || !run) continue;
    const memory::StepId step_id{.turn = fields.value("turn", 0), .step = fields.value("step", 0)};
    const auto step = replay.step(*run, step_id, fields.value("sampled", 0), stop);
    replayed.stopped = stop.stop_requested();
    if (replayed.stopped) return replayed;
    if (!step) continue;
    ++replayed.steps;
    replayed.same_steps += step->same == step->tokens ? 1 : 0;
    replayed.tokens += step->tokens;
    on_step(*step);
  }
  return replayed;
}

}  // namespace fathom::agent
