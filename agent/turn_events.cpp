// What a turn tells: the events of the stream, field by field (README of agent/).
#include <algorithm>
#include <cctype>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "agent/error.h"
#include "agent/outcome_budget.h"
#include "agent/prompt/constants.h"
#include "agent/turn.h"
#include "tools/diff.h"

namespace fathom::agent {
namespace {

using Json = nlohmann::ordered_json;

// DeepSeek recommends the effort max only from here on (chat encoding, 4).
constexpr int kMaxEffortContext = 393'216;

// What takes longer is announced.
constexpr double kNoticedSeconds = 1;

std::size_t size(int count) noexcept {
  return static_cast<std::size_t>(count);
}

std::string_view hint_for(std::string_view code) {
  if (code == "budget.steps") return "Go on with -c, or allow more with --max-steps.";
  if (code == "budget.tokens") return "Go on with -c, or allow more with --max-tokens.";
  if (code == "budget.seconds") return "Go on with -c, or allow more with --max-seconds.";
  if (code == "context.full") return "Start a new conversation.";
  if (code.starts_with("loop.")) return "Go on with -c and say what to do differently.";
  if (code == "sandbox.setup") return "fathom sandbox doctor says what is missing.";
  return "";
}

std::string_view name(Generated::ThinkingEnded ended) {
  switch (ended) {
    case Generated::ThinkingEnded::model:
      return "model";
    case Generated::ThinkingEnded::budget:
      return "budget";
    case Generated::ThinkingEnded::looped:
      return "loop";
    case Generated::ThinkingEnded::stopped:
      return "stop";
  }
  return "";
}

std::string diff_of(const tools::FileChange& change) {
  return tools::unified_diff({.path = change.path,
                              .before = change.before,
                              .after = change.after,
                              .created = change.change == "created",
                              .deleted = change.change == "deleted"});
}

Json files_of(const tools::Outcome& outcome) {
  Json files = Json::array();
  for (const tools::FileChange& change : outcome.files) {
    files.push_back({{"path", change.path}, {"change", change.change}, {"diff", diff_of(change)}});
  }
  return files;
}

Json experts_json(const engine::ExpertReads& reads) {
  return {{"needed", reads.needed},
          {"hits", reads.hits},
          {"hit_rate", reads.hit_rate()},
          {"guesses", reads.guesses},
          {"guesses_right", reads.guesses_right},
          {"read_bytes", reads.bytes},
          {"waited_s", reads.waited_s}};
}

// Always an object, so that the field never changes its type.
Json arguments_of(const prompt::ReplyCall& call) {
  Json arguments = Json::parse(call.arguments, nullptr, /*allow_exceptions=*/false);
  return arguments.is_object() ? arguments : Json{{"text", call.arguments}};
}

}  // namespace

int calls_of(const prompt::Reply& reply) {
  const auto lost = std::ranges::find_if(reply.diagnostics, [](const prompt::Diagnostic& found) {
    return found.code == "truncated_tool_call" || found.code == "truncated_block" ||
           found.code == "invoke_without_name";
  });
  const int calls = static_cast<int>(reply.tool_calls.size());
  return lost == reply.diagnostics.end() ? calls : calls + 1;
}

tools::Outcome refused(tools::Status status, std::string text) {
  tools::Outcome outcome;
  outcome.status = status;
  outcome.text = std::move(text);
  return outcome;
}

tools::Outcome cut_off() {
  return refused(tools::Status::invalid,
                 "Your last call was cut off before it ended and did not run. Send it again, "
                 "shorter: at most 300 lines per write_file.");
}

Json Turn::at_step() const {
  return {{"turn", number_}, {"step", step_}};
}

prompt::Effort Turn::effort() const {
  const auto& opening = bench_.conversation.opening();
  return opening ? opening->effort : prompt::Effort::none;
}

// The conversation's own opening, with what this run, or this turn's mode, asks to replace.
Opening Turn::wanted_opening() const {
  const Profile& profile = bench_.profile;
  const AgentOptions& options = bench_.options;
  const Conversation& conversation = bench_.conversation;
  Opening asked{.system = profile.system, .instructions = profile.instructions};
  for (const tools::Tool& tool : bench_.toolbox->tools()) asked.tools.push_back(tool.name);
  Opening wanted = conversation.opening().value_or(asked);
  if (options.replaces_system) {
    wanted.system = asked.system;
    wanted.instructions = asked.instructions;
  }
  if (options.replaces_tools) wanted.tools = asked.tools;
  const bool large = bench_.model->card().context_limit >= kMaxEffortContext;
  if (mode_ == Mode::think) wanted.effort = prompt::Effort::none;
  if (mode_ == Mode::high) wanted.effort = prompt::Effort::high;
  if (mode_ == Mode::max) wanted.effort = large ? prompt::Effort::max : prompt::Effort::high;
  return wanted;
}

// A resumed conversation has its opening already, and keeps it unless it is asked to replace it.
void Turn::write_start(const Opening& wanted) {
  const ModelCard& card = bench_.model->card();
  Conversation& conversation = bench_.conversation;
  std::vector<std::string> schemas;
  for (const tools::Tool& tool : bench_.toolbox->tools()) {
    if (bench_.profile.render_tools) schemas.push_back(tool.schema);
  }
  const auto& known = conversation.opening();
  const bool begins = conversation.tokens().empty();
  std::string change = begins || !known ? "" : changes(*known, wanted);
  std::optional<RenderedOpening> rendered;
  bool differs = false;
  if (begins || !change.empty() || (!known && asks_for_opening())) {
    rendered = render(wanted, schemas, card.family, tokenizer());
    const auto now = conversation.tokens().first(size(conversation.opening_tokens()));
    differs = !std::ranges::equal(now, rendered->tokens);
  }
  Json fields = {{"conversation", conversation.id()},
                 {"prog", bench_.options.program_version},
                 {"model",
                  {{"file", card.name},
                   {"family", card.family == engine::Family::preview ? "preview" : "0731"},
                   {"context", card.context_limit},
                   {"fingerprint", card.fingerprint}}},
                 {"workspace", bench_.options.workspace.string()},
                 {"mode", agent::name(mode_)},
                 {"effort", agent::name(wanted.effort)},
                 {"sandbox", bench_.options.sandbox},
                 {"tools", wanted.tools},
                 {"seed", bench_.options.seed},
                 {"temperature", bench_.options.sampling.temperature},
                 {"think_budget", bench_.options.budget.think_tokens}};
  if (differs) fields["system"] = wanted.text();
  std::optional<memory::TokensRecord> piece;
  if (differs) piece = memory::TokensRecord{.tokens = rendered->tokens};
  bench_.journal.write("start", std::move(fields), {.tokens = std::move(piece)});
  if (mode_ == Mode::max && wanted.effort != prompt::Effort::max) write_lowered(card);
  if (differs && !begins) changes_ = change.empty() ? "the system text" : std::move(change);
  if (rendered) conversation.open(wanted, *rendered);
}

bool Turn::asks_for_opening() const {
  const AgentOptions& options = bench_.options;
  return options.replaces_system || options.replaces_tools || mode_ == Mode::high ||
         mode_ == Mode::max;
}

void Turn::write_lowered(const ModelCard& card) {
  bench_.journal.write(
      "note", {{"kind", "mode"},
               {"text", fmt::format("max needs a context of {} tokens, this model has {}: high is "
                                    "used.",
                                    kMaxEffortContext, card.context_limit)},
               {"data", {{"asked", "max"}, {"used", "high"}}}});
}

void Turn::write_cache(std::string_view kind, std::string text, Json more) {
  Json fields = at_step();
  fields["kind"] = kind;
  fields["text"] = std::move(text);
  fields.update(more);
  bench_.journal.write("cache", std::move(fields));
}

// What was computed for this conversation before and has to be computed again is told before it is
// done: always where this turn changes the opening, else where it takes long enough to be noticed.
void Turn::announce_costs(std::span<const engine::Token> prompt) {
  const std::string change = std::exchange(changes_, {});
  if ((!std::exchange(opens_run_, false) && change.empty()) || stored_tokens_ == 0) return;
  const int fresh = static_cast<int>(prompt.size()) -
                    static_cast<int>(std::min<std::size_t>(prompt.size(), size(stored_tokens_)));
  const int again = bench_.model->to_compute(prompt) - fresh;
  const double speed = bench_.conversation.prefill_speed();
  const double seconds = speed > 0 ? again / speed : 0;
  if (again <= 0 || (change.empty() && seconds < kNoticedSeconds)) return;
  const std::string why =
      change.empty() ? "The conversation is not in the cache"
                     : fmt::format("{}{} changed", static_cast<char>(std::toupper(change.front())),
                                   change.substr(1));
  write_cache("costs",
              fmt::format("{}: {} tokens are computed again, about {:.{}f} s.", why, again, seconds,
                          seconds < 10 ? 1 : 0),
              {{"tokens", again}, {"seconds", seconds}, {"changed", change}});
}

// The cache's folder could not be used: said once, by whichever step comes first.
void Turn::write_trouble() {
  const auto& trouble = bench_.options.cache_trouble;
  std::string text = trouble ? trouble() : "";
  if (!text.empty()) write_cache("trouble", std::move(text));
}

// Says what was reused, and where the prompt leaves what is known if it does.
void Turn::write_prefill(const Step& step, std::span<const engine::Token> prompt,
                         std::optional<memory::TokensRecord> piece) {
  const engine::Prefill& prefill = step.prefill;
  write_trouble();
  if (prefill.damaged > 0) {
    write_cache("damaged",
                fmt::format("{} damaged on disk: dropped and computed again.",
                            prefill.damaged == 1
                                ? "A piece of the cache was"
                                : fmt::format("{} pieces of the cache were", prefill.damaged)),
                {{"pieces", prefill.damaged}});
  }
  if (prefill.reused_disk > 0) {
    write_cache("restored", fmt::format("{} tokens read from disk.", prefill.reused_disk),
                {{"tokens", prefill.reused_disk}});
  }
  Json fields = at_step();
  fields["reused"] = prefill.reused;
  fields["reused_disk"] = prefill.reused_disk;
  fields["total"] = prompt.size();
  fields["done"] = prefill.prefilled;
  fields["tokens_per_s"] = prefill.seconds > 0 ? prefill.prefilled / prefill.seconds : 0.0;
  if (!prefill.instead.empty()) {
    // What is shown of either side: enough to recognise the place by.
    constexpr std::size_t kShown = 16;
    const auto at = static_cast<std::size_t>(prefill.known);
    const auto here = prompt.subspan(at, std::min(kShown, prompt.size() - at));
    fields["differs"] = {
        {"at", prefill.known},
        {"part", bench_.conversation.part_at(prefill.known)},
        {"here", tokenizer().decode(here)},
        {"before", tokenizer().decode(prefill.instead)},
        {"here_token", tokenizer().decode(here.first(std::min<std::size_t>(1, here.size())))},
        {"before_token", tokenizer().decode(std::span(prefill.instead).first(1))}};
  }
  bench_.journal.write("prefill", std::move(fields), {.tokens = std::move(piece)});
}

// The reply becomes durable with its last event: before that, the model has not said it.
void Turn::write_reply(const Step& step) {
  const Generated& generated = step.generated;
  const prompt::Reply& reply = generated.reply;
  std::vector<std::pair<std::string, Json>> events;
  if (generated.thinking > 0) {
    Json fields = at_step();
    fields["text"] = reply.reasoning_content;
    fields["tokens"] = generated.thinking;
    fields["seconds"] = generated.thinking_seconds;
    fields["ended"] = name(generated.thinking_ended);
    events.emplace_back("thinking", std::move(fields));
  }
  if (!reply.content.empty() || reply.tool_calls.empty()) {
    Json fields = at_step();
    fields["text"] = reply.content;
    fields["tokens"] = generated.sampled - generated.thinking;
    fields["seconds"] = generated.seconds - generated.thinking_seconds;
    events.emplace_back("text", std::move(fields));
    answer_ = reply.content;
  }
  for (const prompt::ReplyCall& call : reply.tool_calls) {
    const tools::Tool* tool = bench_.toolbox->find(call.name);
    Json fields = at_step();
    fields["call"] = ++call_;
    fields["tool"] = call.name;
    fields["arguments"] = arguments_of(call);
    fields["effect"] = tool == nullptr ? "none" : tools::name(tool->effect);
    fields["started"] = "block";
    events.emplace_back("call", std::move(fields));
  }

  std::vector<engine::Token> piece = {
      bench_.vocabulary->assistant,
      step.thought ? bench_.vocabulary->think_open : bench_.vocabulary->think_close};
  piece.insert(piece.end(), generated.tokens.begin(), generated.tokens.end());
  for (auto& [type, fields] : events) {
    Attached attached;
    if (&fields == &events.back().second) {
      attached.tokens = memory::TokensRecord{.turn = number_,
                                             .step = step_,
                                             .source = memory::TokensRecord::Source::sampled,
                                             .tokens = piece,
                                             .calls = calls_of(reply)};
    }
    bench_.journal.write(type, std::move(fields), attached);
  }
  bench_.conversation.add_sampled(piece);
}

void Turn::write_outcome(tools::Outcome outcome, int number, int tokens, int tokens_max) {
  std::string text = outcome.text;
  if (tokens > tokens_max) {
    text = shorten(tokenizer(), text, tokens_max);
    tokens = count_tokens(tokenizer(), text);
    if (outcome.full.empty()) outcome.full = std::move(outcome.text);
  }
  last_outcomes_ok_ = last_outcomes_ok_ && outcome.status == tools::Status::ok;
  calls_ += fmt::format("{} {}\n", tools::name(outcome.status), outcome.exit.value_or(0));

  Json fields = at_step();
  fields["call"] = number;
  fields["status"] = tools::name(outcome.status);
  if (outcome.exit) fields["exit"] = *outcome.exit;
  fields["text"] = text;
  fields["tokens"] = tokens;
  fields["seconds"] = outcome.seconds;
  if (outcome.omitted) {
    fields["omitted"] = {{"lines", outcome.omitted->lines},
                         {"tokens", outcome.omitted->tokens},
                         {"kept_in", outcome.omitted->kept_in}};
  }
  fields["files"] = files_of(outcome);
  const std::vector<tools::Denial> denied = std::move(outcome.denied);
  bench_.journal.write("outcome", std::move(fields),
                       {.outcome = memory::OutcomeRecord{.turn = number_,
                                                         .step = step_,
                                                         .call = number,
                                                         .text = text,
                                                         .full = std::move(outcome.full)}});
  bench_.conversation.add_outcome({.call = number, .text = std::move(text)});
  for (const tools::Denial& denial : denied) write_denied(denial, number);
}

void Turn::write_denied(const tools::Denial& denial, int number) {
  Json fields = at_step();
  fields["call"] = number;
  fields["what"] = denial.what;
  fields["target"] = denial.target;
  fields["rule"] = denial.rule;
  fields["say"] = denial.say;
  fields["count"] = denial.count;
  bench_.journal.write("denied", std::move(fields));
}

std::string_view Turn::mode_used(const Step& step) const {
  if (!step.thought) return "fast";
  return effort() == prompt::Effort::none ? "think" : agent::name(effort());
}

void Turn::write_step(const Step& step) {
  Json fields = at_step();
  fields["mode_used"] = mode_used(step);
  fields["prefilled"] = step.prefill.prefilled;
  fields["reused"] = step.prefill.reused;
  fields["reused_disk"] = step.prefill.reused_disk;
  fields["sampled"] = step.generated.sampled;
  fields["thinking"] = step.generated.thinking;
  fields["drafted"] = step.drafts.drafted;
  fields["accepted"] = step.drafts.accepted;
  fields["context_used"] = bench_.conversation.tokens().size();
  fields["seconds"] = {{"prefill", step.prefill.seconds},
                       {"decode", step.generated.seconds},
                       {"tools", step.tools_seconds}};
  if (const auto reads = bench_.model->expert_reads(); reads && step.reads_before) {
    fields["experts"] = experts_json(*reads - *step.reads_before);
  }
  bench_.journal.write("step", std::move(fields));
  bench_.journal.prepare(result_fields(TurnEnd::cancelled, 0));
}

TurnEnd Turn::failure(std::string code, std::string message, TurnEnd end) noexcept {
  error_ = {{"code", code}, {"message", std::move(message)}, {"hint", hint_for(code)}};
  bench_.journal.error(error_);
  return end;
}

Json Turn::usage() const {
  return {{"prefilled", tally_.prefilled},
          {"reused", tally_.reused},
          {"reused_memory", tally_.reused - tally_.reused_disk},
          {"reused_disk", tally_.reused_disk},
          {"sampled", tally_.sampled},
          {"thinking", tally_.thinking},
          {"drafted", tally_.drafts.drafted},
          {"accepted", tally_.drafts.accepted}};
}

Json Turn::result_fields(TurnEnd end, int exit) const {
  Json fields = {{"status", agent::name(end)},
                 {"exit", exit},
                 {"text", answer_},
                 {"structured", nullptr},
                 {"turn", number_},
                 {"turns", number_},
                 {"steps", tally_.steps},
                 {"usage", usage()},
                 {"seconds", static_cast<double>(bench_.journal.milliseconds() - began_ms_) / 1000},
                 {"patch", ""},
                 {"files", Json::array()},
                 {"conversation", bench_.conversation.id()},
                 {"error", error_}};
  if (!verdict_.is_null()) fields["verify"] = verdict_;
  return fields;
}

// What the turn changed in the workspace. A failure to find out leaves the result without it: the
// result itself must not be lost.
void Turn::add_patch(Json& fields) const noexcept {
  if (!before_) return;
  try {
    std::string patch;
    Json files = Json::array();
    for (const tools::FileChange& change : before_->changes()) {
      patch += diff_of(change);
      files.push_back(change.path);
    }
    fields["patch"] = std::move(patch);
    fields["files"] = std::move(files);
  } catch (const std::exception& failed) {
    fields["error"] = {{"code", "patch"}, {"message", failed.what()}, {"hint", ""}};
  }
}

Live Turn::live(std::string phase) const {
  return {.phase = std::move(phase),
          .turn = number_,
          .step = step_,
          .context_used = static_cast<int>(bench_.conversation.tokens().size()),
          .context_limit = bench_.model->card().context_limit,
          .mode_used = {}};
}

}  // namespace fathom::agent
