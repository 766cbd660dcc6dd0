// One turn: from a message to its result. What happens, in order; how it is told: turn_events.cpp.
#include "agent/turn.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "agent/outcome_budget.h"
#include "agent/prompt/constants.h"
#include "agent/prompt/render.h"
#include "engine/error.h"
#include "tools/error.h"

namespace fathom::agent {
namespace {

// The same calls with the same ends so often in a row will not end otherwise the next time.
constexpr int kRepetitionsMax = 4;

constexpr auto kLiveEvery = std::chrono::milliseconds(100);

// The last two tokens of a continuation, <｜Assistant｜> and the opener, belong to the reply.
constexpr int kOpenerTokens = 2;

}  // namespace

Turn::Turn(Bench& bench, Mode mode, std::stop_token stop)
    : bench_(bench),
      mode_(mode),
      deadline_(bench.options.budget.seconds, std::move(stop)),
      number_(bench.conversation.turns() + 1),
      began_ms_(bench.journal.milliseconds()) {}

TurnResult Turn::run(const Request& request) {
  bench_.journal.open();
  try {
    begin(request);
    end_ = loop();
    write_trouble();
    if (end_ == TurnEnd::answered) end_ = verified();
  } catch (const tools::NoSandbox& error) {
    end_ = failure("sandbox.setup", error.what(), TurnEnd::no_sandbox);
  } catch (const engine::Error& error) {
    end_ = failure("engine.failed", error.what(), TurnEnd::no_engine);
  } catch (const std::exception& error) {
    end_ = failure("failure", error.what(), TurnEnd::failure);
  }
  return finish();
}

void Turn::begin(const Request& request) {
  bench_.journal.prepare(result_fields(TurnEnd::cancelled, 0));
  before_ = std::make_unique<tools::Snapshot>(bench_.options.workspace);
  const bool resumed = !bench_.conversation.tokens().empty();
  const Opening wanted = wanted_opening();
  if (!bench_.started || wanted.effort != effort()) write_start(wanted);
  opens_run_ = !std::exchange(bench_.started, true);
  if (resumed) stored_tokens_ = static_cast<int>(bench_.conversation.tokens().size());

  const std::vector<engine::Token> tokens = user_turn(request.text);
  const std::string line = request.text.substr(0, request.text.find('\n'));
  Json fields = {{"turn", number_}, {"text", request.text}};
  if (!request.cause.empty()) fields["cause"] = request.cause;
  bench_.journal.write("turn", std::move(fields),
                       {.tokens = memory::TokensRecord{.turn = number_, .tokens = tokens},
                        .title = number_ == 1 ? line : ""});
  bench_.conversation.begin_turn();
  bench_.conversation.add_user_turn(tokens);
}

TurnEnd Turn::loop() {
  while (true) {
    if (const auto end = end_before_step()) return *end;
    Step step;
    ++step_;
    call_ = 0;
    ++tally_.steps;
    if (!prefill(step)) return stopped();
    generate(step);
    write_reply(step);

    // Every call gets an outcome, also after an interrupt: the next turn must find none open.
    act(step);
    write_step(step);
    if (const auto end = end_after_step(step.generated)) return *end;
  }
}

// A user turn that carries the pending outcomes and, if there is one, a message; without opener.
std::vector<engine::Token> Turn::user_turn(std::string_view text) const {
  const Conversation& conversation = bench_.conversation;
  if (conversation.awaits_reply()) {
    // The reply to the turn before never came: the message joins that turn, as two in a row do.
    const prompt::Segment more{.kind = prompt::Segment::Kind::plain,
                               .text = std::string(prompt::kBlankLine) + std::string(text)};
    return prompt::encode({&more, 1}, tokenizer());
  }
  std::vector<prompt::Block> blocks;
  for (const PendingOutcome& outcome : conversation.pending()) {
    blocks.push_back({.kind = prompt::Block::Kind::result, .text = outcome.text});
  }
  if (!text.empty() || blocks.empty()) {
    blocks.push_back({.kind = prompt::Block::Kind::text, .text = std::string(text)});
  }
  std::vector<engine::Token> tokens =
      prompt::encode(prompt::continuation(blocks, prompt::Mode::chat), tokenizer());
  tokens.resize(tokens.size() - kOpenerTokens);
  return tokens;
}

std::optional<TurnEnd> Turn::end_before_step() {
  const Budget& budget = bench_.options.budget;
  if (deadline_.stopped()) return stopped();
  if (budget.steps > 0 && tally_.steps >= budget.steps) {
    return over_budget("steps", fmt::format("The turn took {} step{}.", tally_.steps,
                                            tally_.steps == 1 ? "" : "s"));
  }
  if (used_tokens_up_ || (budget.tokens > 0 && tally_.sampled >= budget.tokens)) {
    return over_budget("tokens", fmt::format("The turn sampled {} token{}.", tally_.sampled,
                                             tally_.sampled == 1 ? "" : "s"));
  }
  return std::nullopt;
}

std::optional<TurnEnd> Turn::end_after_step(const Generated& generated) {
  using Ended = Generated::Ended;
  if (deadline_.stopped()) return stopped();
  if (generated.ended == Ended::context_full) {
    const auto limit = bench_.model->card().context_limit;
    return failure("context.full", fmt::format("The context is full ({} tokens).", limit),
                   TurnEnd::context_full);
  }
  if (generated.ended == Ended::looped) {
    return failure("loop.tokens", "The model wrote the same text again and again.", TurnEnd::stuck);
  }
  used_tokens_up_ = generated.ended == Ended::token_budget;
  if (used_tokens_up_) return end_before_step();
  if (bench_.conversation.pending().empty()) return TurnEnd::answered;
  if (goes_in_circles()) {
    return failure("loop.calls",
                   fmt::format("The model sent the same calls {} times with the same outcome.",
                               kRepetitionsMax),
                   TurnEnd::stuck);
  }
  return std::nullopt;
}

TurnEnd Turn::stopped() {
  if (!deadline_.time_is_up()) return TurnEnd::cancelled;
  return over_budget("seconds", fmt::format("The turn took {} s.", bench_.options.budget.seconds));
}

bool Turn::goes_in_circles() {
  repetitions_ = calls_ == last_calls_ ? repetitions_ + 1 : 1;
  last_calls_ = calls_;
  return repetitions_ >= kRepetitionsMax;
}

// A message or a failure needs thought; the way on after a plain read, search or successful edit
// is mostly clear, and thinking there costs time without gain.
bool Turn::thinks_next() const {
  if (mode_ != Mode::automatic) return mode_ != Mode::fast;
  return step_ == 1 || !last_outcomes_ok_;
}

// Makes the timeline end with the opener of the step's reply. False if it was stopped before.
bool Turn::prefill(Step& step) {
  Conversation& conversation = bench_.conversation;
  step.thought = thinks_next();
  step.reads_before = bench_.model->expert_reads();
  const std::vector<engine::Token> user =
      conversation.awaits_reply() ? std::vector<engine::Token>() : user_turn("");
  std::vector<engine::Token> prompt(conversation.tokens().begin(), conversation.tokens().end());
  prompt.insert(prompt.end(), user.begin(), user.end());
  prompt.push_back(prompt::special(tokenizer(), prompt::kAssistant));
  prompt.push_back(
      prompt::special(tokenizer(), step.thought ? prompt::kThinkOpen : prompt::kThinkClose));

  Live now = live("prefill");
  now.prefill_total = static_cast<int>(prompt.size());
  const auto began = std::chrono::steady_clock::now();
  auto shown = began - kLiveEvery;
  const auto progress = [&](int done, int total) {
    const auto time = std::chrono::steady_clock::now();
    if (time - shown < kLiveEvery) return;
    shown = time;
    const double seconds = std::chrono::duration<double>(time - began).count();
    now.prefill_done = done;
    now.prefill_total = total;
    now.reused = static_cast<int>(prompt.size()) - total;
    now.prefill_tokens_per_s = seconds > 0 ? done / seconds : 0;
    bench_.journal.show(now);
  };
  const bool fits = std::ssize(prompt) + 1 < bench_.model->card().context_limit;
  if (number_ == 1 && step_ == 1) bench_.model->remember_at(conversation.opening_tokens());
  if (fits) announce_costs(prompt);
  if (fits) step.prefill = bench_.model->sync(prompt, progress, deadline_.token());
  tally_.prefilled += step.prefill.prefilled;
  tally_.reused += step.prefill.reused;
  tally_.reused_disk += step.prefill.reused_disk;

  std::optional<memory::TokensRecord> piece;
  if (!user.empty()) {
    piece = memory::TokensRecord{.turn = number_, .step = step_, .tokens = user};
  }
  write_prefill(step, prompt, std::move(piece));
  if (!user.empty()) conversation.add_user_turn(user);
  return step.prefill.reused + step.prefill.prefilled == std::ssize(prompt) || !fits;
}

void Turn::generate(Step& step) {
  const Budget& budget = bench_.options.budget;
  const ModelCard& card = bench_.model->card();
  Live now = live("writing");
  now.mode_used = mode_used(step);
  now.context_used = static_cast<int>(bench_.conversation.tokens().size()) + kOpenerTokens;
  if (!bench_.vocabulary) {
    bench_.vocabulary =
        vocabulary(tokenizer(), card.eos, static_cast<int>(bench_.model->logits().size()),
                   !bench_.declared.empty());
  }
  const GenerateOptions options{.turn = number_,
                                .step = step_,
                                .think = step.thought,
                                .think_tokens = budget.think_tokens,
                                .tokens = budget.tokens > 0 ? budget.tokens - tally_.sampled : 0,
                                .sampling = bench_.options.sampling,
                                .tools = bench_.declared};
  Generator generator(*bench_.model, bench_.sampler, *bench_.vocabulary, bench_.journal);
  const engine::DraftCounts before = bench_.model->drafts();
  step.generated = generator.generate(options, std::move(now), deadline_.token());
  const engine::DraftCounts after = bench_.model->drafts();
  step.drafts = {.drafted = after.drafted - before.drafted,
                 .accepted = after.accepted - before.accepted};
  bench_.model->remember();
  tally_.sampled += step.generated.sampled;
  tally_.thinking += step.generated.thinking;
  tally_.drafts.drafted += step.drafts.drafted;
  tally_.drafts.accepted += step.drafts.accepted;
}

void Turn::act(Step& step) {
  const prompt::Reply& reply = step.generated.reply;
  const auto began = std::chrono::steady_clock::now();
  const int calls = calls_of(reply);
  const bool may_run = reply.finish_reason == prompt::FinishReason::tool_calls;
  last_outcomes_ok_ = true;
  calls_.clear();
  HeldOutcomes held;
  try {
    for (int call = 1; call <= calls; ++call) {
      tools::Outcome outcome =
          call <= std::ssize(reply.tool_calls)
              ? perform(reply.tool_calls[static_cast<std::size_t>(call - 1)], call, may_run)
              : cut_off();
      held.sizes.push_back(count_tokens(tokenizer(), outcome.text));
      held.outcomes.push_back(std::move(outcome));
      write_outcomes(held, calls - call);
    }
  } catch (...) {
    write_outcomes(held, 0);  // what did run is known, whatever kept the next call from running
    throw;
  }
  step.tools_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// In the order of the calls, so an outcome that may have to give way holds back those after it.
void Turn::write_outcomes(HeldOutcomes& held, int to_come) {
  const int limit = outcome_limit(held.sizes, to_come);
  while (!held.outcomes.empty()) {
    const std::size_t first = held.sizes.size() - held.outcomes.size();
    if (to_come > 0 && held.sizes[first] > limit) return;
    tools::Outcome outcome = std::move(held.outcomes.front());
    held.outcomes.pop_front();
    write_outcome(std::move(outcome), static_cast<int>(first) + 1, held.sizes[first], limit);
  }
}

tools::Outcome Turn::perform(const prompt::ReplyCall& call, int number, bool may_run) {
  calls_ += fmt::format("{}\n{}\n", call.name, call.arguments);
  if (deadline_.stopped()) {
    return refused(tools::Status::failed, "Not run: the turn was stopped before this call.");
  }
  if (call.status == prompt::CallStatus::malformed) {
    return refused(
        tools::Status::invalid,
        fmt::format("Your call of {} could not be read and did not run: a parameter was given "
                    "twice, or something stood between the parameters. Send it again.",
                    call.name));
  }
  if (!may_run) return cut_off();
  bench_.journal.show(live("running"));
  std::int64_t at = 0;
  const auto output = [&](std::string_view text) {
    bench_.journal.show(Delta{.item = fmt::format("t{}.s{}.k{}.out", number_, step_, number),
                              .kind = "output",
                              .turn = number_,
                              .step = step_,
                              .call = number,
                              .at = at,
                              .text = std::string(text)});
    at += static_cast<std::int64_t>(text.size());
  };
  const auto began = std::chrono::steady_clock::now();
  tools::Outcome outcome =
      bench_.toolbox->run(call.name, call.arguments, output, deadline_.token());
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  for (const tools::FileChange& change : outcome.files) before_->note(change);
  if (auto again = past_calls_.add(step_, call.name, call.arguments, outcome)) {
    if (outcome.full.empty()) outcome.full = std::move(outcome.text);
    outcome.text = std::move(*again);
    outcome.omitted.reset();
  }
  return outcome;
}

TurnEnd Turn::verified() {
  if (!bench_.options.verify) return TurnEnd::answered;
  bench_.journal.show(live("running"));
  const Verdict verdict = bench_.options.verify(deadline_.token());
  if (verdict.cancelled || deadline_.stopped()) return stopped();
  verdict_ = {{"exit", verdict.exit}, {"text", verdict.text}};
  return verdict.exit == 0 ? TurnEnd::answered : TurnEnd::unverified;
}

TurnEnd Turn::over_budget(std::string_view which, std::string message) {
  return failure(fmt::format("budget.{}", which), std::move(message), TurnEnd::budget);
}

TurnResult Turn::finish() noexcept {
  const auto& signal = bench_.options.stop_signal;
  int exit = exit_code(end_);
  if (end_ == TurnEnd::cancelled && signal) exit = 128 + signal();
  bench_.journal.show(live("idle"));
  Json fields = result_fields(end_, exit);
  add_patch(fields);
  bench_.journal.result(std::move(fields));
  return {.end = end_, .exit = exit, .text = answer_};
}

}  // namespace fathom::agent
