// What a turn tells: the events of the stream, field by field (README of agent/).
#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "agent/error.h"
#include "agent/outcome_budget.h"
#include "agent/prompt/constants.h"
#include "agent/prompt/render.h"
#include "agent/turn.h"
#include "tools/diff.h"

namespace fathom::agent {
namespace {

using Json = nlohmann::ordered_json;

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

void Turn::write_start() {
  const Profile& profile = bench_.profile;
  const ModelCard& card = bench_.model->card();
  Json names = Json::array();
  prompt::Message system;
  system.role = prompt::Role::system;
  system.content = system_text(profile);
  prompt::Request request{.messages = {std::move(system)}, .family = card.family};
  for (const tools::Tool& tool : bench_.toolbox->tools()) {
    names.push_back(tool.name);
    if (profile.render_tools) request.tools.push_back(tool.schema);
  }

  // A resumed conversation has its system text already, and keeps it.
  std::optional<memory::TokensRecord> piece;
  if (bench_.conversation.tokens().empty()) {
    const auto segments = prompt::render(request);
    if (!segments) {
      throw Error(
          fmt::format("the system text cannot be rendered: {}", prompt::code(segments.error())));
    }
    piece = memory::TokensRecord{.tokens = prompt::encode(*segments, tokenizer())};
  }
  bench_.journal.write("start",
                       {{"conversation", bench_.conversation.id()},
                        {"prog", bench_.options.program_version},
                        {"model",
                         {{"file", card.name},
                          {"family", card.family == engine::Family::preview ? "preview" : "0731"},
                          {"context", card.context_limit},
                          {"fingerprint", card.fingerprint}}},
                        {"workspace", bench_.options.workspace.string()},
                        {"mode", agent::name(mode_)},
                        {"sandbox", bench_.options.sandbox},
                        {"tools", names},
                        {"seed", bench_.options.seed},
                        {"temperature", bench_.options.sampling.temperature},
                        {"think_budget", bench_.options.budget.think_tokens}},
                       {.tokens = piece});
  if (piece) {
    bench_.conversation.add_rendered(piece->tokens, Conversation::Rendered::system_text);
  }
}

// The cache's folder could not be used: said once, by whichever turn comes first.
void Turn::write_trouble() {
  const auto& trouble = bench_.options.cache_trouble;
  const std::string text = trouble ? trouble() : "";
  if (text.empty()) return;
  Json fields = at_step();
  fields["kind"] = "trouble";
  fields["text"] = text;
  bench_.journal.write("cache", std::move(fields));
}

// Says what was reused, and where the prompt leaves what is known if it does.
void Turn::write_prefill(const Step& step, std::span<const engine::Token> prompt,
                         std::optional<memory::TokensRecord> piece) {
  const engine::Prefill& prefill = step.prefill;
  write_trouble();
  if (prefill.reused_disk > 0) {
    Json fields = at_step();
    fields["kind"] = "restored";
    fields["tokens"] = prefill.reused_disk;
    bench_.journal.write("cache", std::move(fields));
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
    fields["differs"] = {{"at", prefill.known},
                         {"part", bench_.conversation.part_at(prefill.known)},
                         {"here", tokenizer().decode(here)},
                         {"before", tokenizer().decode(prefill.instead)}};
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

// Returns the tokens it takes in the context.
int Turn::write_outcome(tools::Outcome outcome, int number, int tokens_max) {
  std::string text = shorten(tokenizer(), outcome.text, tokens_max);
  const bool shortened = text != outcome.text;
  if (shortened && outcome.full.empty()) outcome.full = outcome.text;
  const int tokens = count_tokens(tokenizer(), text);
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
  return tokens;
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

void Turn::write_step(const Step& step) {
  Json fields = at_step();
  fields["mode_used"] = step.thought ? "think" : "fast";
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
