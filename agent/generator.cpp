// One reply of the model.
//
// The thinking budget is soft first: past three quarters of it </think> is taken as soon as it is
// among the three likeliest tokens, where the thought can end by itself. At the budget it is
// forced. A forced token is a real one in the model's state, so the answer goes on normally.
#include "agent/generator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

namespace fathom::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSoftCandidates = 3;
constexpr auto kLiveEvery = std::chrono::milliseconds(100);

// A thought that says the same 96 tokens three times in a row goes nowhere. Text may repeat for
// good reasons (tables, data), so there the span is one that no reader would want.
constexpr int kLoopInThought = 96;
constexpr int kLoopInText = 1024;
constexpr int kLoopLookEvery = 32;  // tokens: looking costs more than it saves if done at each

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Whether fewer than `rank` other tokens are likelier.
bool among_top(std::span<const float> logits, engine::Token token, int rank) {
  const float own = logits[static_cast<std::size_t>(token)];
  return std::ranges::count_if(logits, [own](float other) { return other > own; }) < rank;
}

prompt::ReplyParser parser_for(const GenerateOptions& options) {
  return prompt::ReplyParser({.mode = options.think ? prompt::Mode::thinking : prompt::Mode::chat,
                              .tools = options.tools,
                              .input = prompt::ReplyOptions::Input::tokens});
}

prompt::Cause cause_of(Generated::Ended ended) {
  switch (ended) {
    case Generated::Ended::model:
      return prompt::Cause::eos;
    case Generated::Ended::stopped:
      return prompt::Cause::cancelled;
    default:
      return prompt::Cause::length;
  }
}

}  // namespace

// Shows a reply while it grows.
struct Generator::Progress {
  Progress(Journal& journal_, const GenerateOptions& options_, Live live_)
      : journal(journal_), options(options_), live(std::move(live_)) {}

  void delta(std::string kind, std::string item, int call, std::int64_t& at, std::string text) {
    if (text.empty()) return;
    const auto size = static_cast<std::int64_t>(text.size());
    journal.show(Delta{.item = fmt::format("t{}.s{}.{}", options.turn, options.step, item),
                       .kind = std::move(kind),
                       .turn = options.turn,
                       .step = options.step,
                       .call = call,
                       .at = at,
                       .text = std::move(text)});
    at += size;
  }

  void show(std::vector<prompt::ReplyEvent> events) {
    using Kind = prompt::ReplyEvent::Kind;
    for (prompt::ReplyEvent& event : events) {
      if (event.kind == Kind::reasoning) delta("thinking", "think", 0, thought, event.text);
      if (event.kind == Kind::content) delta("text", "text", 0, written, event.text);
      if (event.kind == Kind::calling) {
        std::int64_t at = 0;
        calling = true;
        ++calls;
        delta("call", fmt::format("k{}", calls), calls, at, event.text);
      }
    }
  }

  // At most every 100 ms, and at each change of phase.
  void tick(const Generated& generated, bool reasoning) {
    const char* phase = reasoning ? "thinking" : calling ? "calling" : "writing";
    const Clock::time_point now = Clock::now();
    if (live.phase == phase && now - shown < kLiveEvery) return;
    shown = now;
    live.phase = phase;
    live.thinking_tokens = generated.thinking;
    const double seconds = seconds_since(start);
    // The first token comes with the prefill: a rate over less than this would be of nothing.
    constexpr double kSecondsMin = 0.1;
    live.decode_tokens_per_s = seconds > kSecondsMin ? generated.sampled / seconds : 0;
    live.context_used = used_before + generated.sampled;
    journal.show(live);
  }

  Journal& journal;
  const GenerateOptions& options;
  Live live;
  const int used_before = live.context_used;
  const Clock::time_point start = Clock::now();
  Clock::time_point shown;
  std::int64_t thought = 0;  // bytes shown of each item
  std::int64_t written = 0;
  int calls = 0;
  bool calling = false;
};

engine::Token Generator::choose(const GenerateOptions& options, Generated& generated,
                                bool reasoning) {
  using ThinkingEnded = Generated::ThinkingEnded;
  const std::span<const float> logits = model_.logits();
  if (reasoning && options.think_tokens > 0) {
    const bool spent = generated.thinking >= options.think_tokens;
    const bool soft = 4 * generated.thinking >= 3 * options.think_tokens;
    if (spent || (soft && among_top(logits, vocabulary_.think_close, kSoftCandidates))) {
      generated.thinking_ended = ThinkingEnded::budget;
      return vocabulary_.think_close;
    }
  }
  if (reasoning && generated.sampled % kLoopLookEvery == 0 &&
      ends_in_repetition(generated.tokens, kLoopInThought)) {
    generated.thinking_ended = ThinkingEnded::looped;
    return vocabulary_.think_close;
  }
  const auto& forbidden =
      reasoning ? vocabulary_.forbidden_thinking : vocabulary_.forbidden_writing;
  return sampler_.sample(logits, options.sampling, forbidden).token;
}

Generated Generator::generate(const GenerateOptions& options, Live live, std::stop_token stop) {
  prompt::ReplyParser parser = parser_for(options);
  Generated generated;
  const std::int64_t room = live.context_limit - live.context_used;
  Progress progress(journal_, options, std::move(live));
  const engine::Tokenizer& tokenizer = model_.tokenizer();
  bool reasoning = parser.reasoning();
  while (true) {
    if (stop.stop_requested()) {
      generated.ended = Generated::Ended::stopped;
      break;
    }
    if (options.tokens > 0 && generated.sampled >= options.tokens) {
      generated.ended = Generated::Ended::token_budget;
      break;
    }
    // Two more must fit: </think> where reasoning is cut, and EOS.
    if (generated.sampled + 2 >= room) {
      generated.ended = Generated::Ended::context_full;
      break;
    }
    const engine::Token token = choose(options, generated, reasoning);
    generated.tokens.push_back(token);
    ++generated.sampled;
    if (token == vocabulary_.eos) break;
    const bool added = tokenizer.is_added(token);
    progress.show(parser.push(tokenizer.bytes(token), added ? prompt::ReplyParser::Piece::added
                                                            : prompt::ReplyParser::Piece::plain));
    if (reasoning && token != vocabulary_.think_close) ++generated.thinking;
    if (reasoning && !parser.reasoning())
      generated.thinking_seconds = seconds_since(progress.start);
    reasoning = parser.reasoning();
    progress.tick(generated, reasoning);
    // Nothing after the block would count, so the rest is not waited for.
    if (parser.block_closed()) break;
    if (!reasoning && generated.sampled % kLoopLookEvery == 0 &&
        ends_in_repetition(generated.tokens, kLoopInText)) {
      generated.ended = Generated::Ended::looped;
      break;
    }
    model_.append(token);
  }

  if (reasoning) {
    generated.thinking_seconds = seconds_since(progress.start);
    if (generated.ended != Generated::Ended::model) {
      generated.thinking_ended = generated.ended == Generated::Ended::stopped
                                     ? Generated::ThinkingEnded::stopped
                                     : Generated::ThinkingEnded::budget;
      generated.tokens.push_back(vocabulary_.think_close);
    }
  }
  if (generated.tokens.empty() || generated.tokens.back() != vocabulary_.eos) {
    generated.tokens.push_back(vocabulary_.eos);
  }
  std::vector<prompt::ReplyEvent> rest;
  generated.reply = parser.finish(cause_of(generated.ended), &rest);
  progress.show(std::move(rest));
  generated.seconds = seconds_since(progress.start);
  return generated;
}

bool ends_in_repetition(std::span<const engine::Token> tokens, int span) {
  const int size = static_cast<int>(tokens.size());
  if (size < span) return false;
  for (int period = 1; period <= size / 3; ++period) {
    const int length = std::max(3 * period, span);
    if (length > size) return false;
    const auto tail = tokens.subspan(static_cast<std::size_t>(size - length));
    const auto shift = static_cast<std::ptrdiff_t>(period);
    if (std::equal(tail.begin() + shift, tail.end(), tail.begin())) return true;
  }
  return false;
}

}  // namespace fathom::agent
