// A conversation as the model sees it: one timeline of tokens that only grows.
#include "agent/conversation.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "agent/error.h"

namespace fathom::agent {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kLostOutcome =
    "The run was ended before this call had an outcome. It may have had effects: look before you "
    "send it again.";

// Outcomes of the calls of the last sampled piece, if the model has not seen them yet.
std::vector<PendingOutcome> pending_after(const memory::TokensRecord& last,
                                          const std::vector<memory::OutcomeRecord>& outcomes) {
  std::vector<PendingOutcome> pending;
  for (int call = 1; call <= last.calls; ++call) {
    const auto found = std::ranges::find_if(outcomes, [&](const memory::OutcomeRecord& outcome) {
      return outcome.turn == last.turn && outcome.step == last.step && outcome.call == call;
    });
    const bool lost = found == outcomes.end();
    pending.push_back({.call = call, .text = lost ? std::string(kLostOutcome) : found->text});
  }
  return pending;
}

}  // namespace

Conversation::Conversation(memory::Store& store, const memory::NewConversation& about)
    : id_(store.create(about)) {}

Conversation Conversation::resume(memory::Store& store, std::string_view id,
                                  std::string_view vocabulary) {
  const auto record = store.conversation(id);
  if (!record) throw Error(fmt::format("there is no conversation {}", id));
  if (record->vocabulary != vocabulary) {
    throw Error(
        fmt::format("conversation {} was held with {}, whose tokens this model does not "
                    "share: name that model with --model",
                    id, record->model));
  }
  Conversation conversation;
  conversation.id_ = id;
  conversation.events_ = record->events;
  conversation.turns_ = record->turns;
  const std::vector<memory::TokensRecord> pieces = store.tokens(id);
  for (const memory::TokensRecord& piece : pieces) {
    if (piece.turn == 0) {
      conversation.replace_opening({.tokens = piece.tokens, .parts = {{}}});
      continue;
    }
    const bool sampled = piece.source == memory::TokensRecord::Source::sampled;
    conversation.add(piece.tokens, sampled ? Part::reply : conversation.next_user_part(piece.turn),
                     piece.turn);
  }
  conversation.read_events(store);
  if (pieces.empty()) return conversation;
  const memory::TokensRecord& last = pieces.back();
  if (last.source == memory::TokensRecord::Source::sampled) {
    conversation.pending_ = pending_after(last, store.outcomes(id));
  } else {
    conversation.awaits_reply_ = last.turn > 0;
  }
  return conversation;
}

void Conversation::add(std::span<const engine::Token> tokens, Part part, int turn) {
  begins_.push_back({.position = static_cast<int>(tokens_.size()), .part = part, .turn = turn});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

// The first user part of a turn carries its message, later ones carry outcomes.
Conversation::Part Conversation::next_user_part(int turn) const noexcept {
  const bool replied = !begins_.empty() && begins_.back().part == Part::reply;
  return replied && begins_.back().turn == turn ? Part::outcomes : Part::message;
}

// What the opening was rendered from, and how fast prefills were.
void Conversation::read_events(const memory::Store& store) {
  struct Recorded {
    Opening opening;
    int turn = 0;  // the turns before it
  };
  std::vector<Recorded> openings;
  int turns = 0;
  int most = 0;
  for (const memory::EventRecord& event : store.events(id_)) {
    if (event.type == "turn") ++turns;
    if (event.type != "start" && event.type != "note" && event.type != "prefill") continue;
    const Json fields = Json::parse(event.json);
    if (event.type == "start" && fields.contains("system")) {
      openings.push_back({.opening = {.effort = effort_by_name(fields.value("effort", "")),
                                      .system = fields.value("system", ""),
                                      .instructions = {},
                                      .tools = fields.value("tools", std::vector<std::string>())},
                          .turn = turns});
    } else if (event.type == "prefill" && fields.value("done", 0) >= most) {
      // Of a prefill of few tokens the speed says little.
      most = fields.value("done", 0);
      prefill_speed_ = fields.value("tokens_per_s", 0.0);
    } else if (fields.value("kind", "") == "rewind") {
      const int back = std::max(1, fields.value("data", Json::object()).value("turn", 0));
      while (openings.size() > 1 && openings.back().turn >= back) openings.pop_back();
    }
  }
  if (!openings.empty()) opening_ = std::move(openings.back().opening);
}

int Conversation::opening_tokens() const noexcept {
  const auto message =
      std::ranges::find_if(begins_, [](const Begin& begin) { return begin.turn > 0; });
  return message == begins_.end() ? static_cast<int>(tokens_.size()) : message->position;
}

void Conversation::open(Opening opening, const RenderedOpening& rendered) {
  opening_ = std::move(opening);
  replace_opening(rendered);
}

void Conversation::replace_opening(const RenderedOpening& rendered) {
  using Kind = RenderedOpening::Part;
  const auto part_of = [](Kind kind) {
    return kind == Kind::effort         ? Part::effort
           : kind == Kind::instructions ? Part::instructions
           : kind == Kind::tools        ? Part::tools
                                        : Part::system;
  };
  const int before = opening_tokens();
  const int shift = static_cast<int>(rendered.tokens.size()) - before;
  tokens_.erase(tokens_.begin(), tokens_.begin() + before);
  tokens_.insert(tokens_.begin(), rendered.tokens.begin(), rendered.tokens.end());
  std::erase_if(begins_, [](const Begin& begin) { return begin.turn == 0; });
  for (Begin& begin : begins_) begin.position += shift;
  std::vector<Begin> parts;
  for (const RenderedOpening::Begin& begin : rendered.parts) {
    parts.push_back({.position = begin.position, .part = part_of(begin.part)});
  }
  begins_.insert(begins_.begin(), parts.begin(), parts.end());
}

std::string Conversation::part_at(int position) const {
  if (position >= std::ssize(tokens_)) return "new text";
  const auto after = std::ranges::upper_bound(begins_, position, {}, &Begin::position);
  assert(after != begins_.begin());
  const Begin& begin = *std::prev(after);
  switch (begin.part) {
    case Part::effort:
      return "the effort text";
    case Part::system:
      return "the system text";
    case Part::instructions:
      return "the project's instructions";
    case Part::tools:
      return "the tools";
    case Part::message:
      return fmt::format("the message of turn {}", begin.turn);
    case Part::outcomes:
      return fmt::format("outcomes of turn {}", begin.turn);
    case Part::reply:
      return fmt::format("the reply of turn {}", begin.turn);
  }
  return {};
}

void Conversation::add_user_turn(std::span<const engine::Token> tokens) {
  add(tokens, next_user_part(turns_), turns_);
  pending_.clear();
  awaits_reply_ = true;
}

void Conversation::add_sampled(std::span<const engine::Token> tokens) {
  assert(pending_.empty());
  add(tokens, Part::reply, turns_);
  awaits_reply_ = false;
}

void Conversation::add_outcome(PendingOutcome outcome) {
  assert(!awaits_reply_);
  pending_.push_back(std::move(outcome));
}

}  // namespace fathom::agent
