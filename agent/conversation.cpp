// A conversation as the model sees it: one timeline of tokens that only grows.
#include "agent/conversation.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>

#include "agent/error.h"

namespace fathom::agent {
namespace {

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
    const bool sampled = piece.source == memory::TokensRecord::Source::sampled;
    const Part part = piece.turn == 0 ? Part::system_text
                      : sampled       ? Part::reply
                                      : conversation.next_user_part(piece.turn);
    conversation.add(piece.tokens, part, piece.turn);
  }
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

int Conversation::system_tokens() const noexcept {
  return begins_.size() < 2 ? static_cast<int>(tokens_.size()) : begins_[1].position;
}

std::string Conversation::part_at(int position) const {
  if (position >= std::ssize(tokens_)) return "new text";
  const auto after = std::ranges::upper_bound(begins_, position, {}, &Begin::position);
  assert(after != begins_.begin());
  const Begin& begin = *std::prev(after);
  switch (begin.part) {
    case Part::system_text:
      return "the system text";
    case Part::message:
      return fmt::format("the message of turn {}", begin.turn);
    case Part::outcomes:
      return fmt::format("outcomes of turn {}", begin.turn);
    case Part::reply:
      return fmt::format("the reply of turn {}", begin.turn);
  }
  return {};
}

void Conversation::add_rendered(std::span<const engine::Token> tokens, Rendered kind) {
  add(tokens, kind == Rendered::system_text ? Part::system_text : next_user_part(turns_), turns_);
  pending_.clear();
  awaits_reply_ = kind == Rendered::user_turn;
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
