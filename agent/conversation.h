// A conversation as the model sees it: one timeline of tokens that only grows.
//
// Sampled tokens stay as they were sampled: text that is tokenised again may split differently,
// and would then cost a new prefill and change what the model said. So a conversation is stored
// as tokens, and resuming reads them back instead of rendering messages.
//
// It is made of the opening, then user turns and sampled pieces in alternation:
//   user turn      <｜User｜> outcomes and message
//   sampled piece  <｜Assistant｜>, <think> or </think>, what the model said, EOS
// The opener belongs to the sampled piece, which is stored when the reply is whole. A run that was
// killed anywhere thus leaves a user turn that awaits its reply, or calls that await outcomes, and
// from both the conversation can go on.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/opening.h"
#include "engine/tokenizer.h"
#include "memory/store.h"

namespace fathom::agent {

// An outcome that the model has not seen yet.
struct PendingOutcome {
  int call = 0;
  std::string text;
};

class Conversation {
 public:
  // A new, empty one. `store` must outlive it.
  Conversation(memory::Store& store, const memory::NewConversation& about);

  // Goes on with a stored one. Calls without an outcome (the run was killed) get one that says so.
  // Throws memory::Error if there is no such conversation, agent::Error if its token ids belong to
  // another vocabulary.
  static Conversation resume(memory::Store& store, std::string_view id,
                             std::string_view vocabulary);

  const std::string& id() const noexcept { return id_; }
  std::span<const engine::Token> tokens() const noexcept { return tokens_; }
  std::int64_t events() const noexcept { return events_; }  // stored before this run
  int turns() const noexcept { return turns_; }
  const std::vector<PendingOutcome>& pending() const noexcept { return pending_; }

  // Whether the last thing in the timeline is a user turn that was never answered.
  bool awaits_reply() const noexcept { return awaits_reply_; }

  // Tokens before the first message, which conversations of a workspace have in common.
  int opening_tokens() const noexcept;

  // What they were rendered from; empty if that is not stored.
  const std::optional<Opening>& opening() const noexcept { return opening_; }

  // At which earlier runs prefilled, in tokens per second; 0: unknown.
  double prefill_speed() const noexcept { return prefill_speed_; }

  // What the token at a position belongs to, in words: "the effort text", "the system text", "the
  // project's instructions", "the tools", "the message of turn 2", "outcomes of turn 2", "the reply
  // of turn 2"; behind the end: "new text".
  std::string part_at(int position) const;

  // Sets what stands before the first message, or replaces it: then all tokens have to be computed
  // again. The caller stores the same tokens with the event that tells of them, as below.
  void open(Opening opening, const RenderedOpening& rendered);

  // Grow the timeline. A user turn carries all pending outcomes, one for each call of the sampled
  // piece before it.
  void add_user_turn(std::span<const engine::Token> tokens);
  void add_sampled(std::span<const engine::Token> tokens);
  void add_outcome(PendingOutcome outcome);
  void begin_turn() noexcept { ++turns_; }

 private:
  Conversation() = default;

  // Where a part of the timeline begins.
  enum class Part { effort, system, instructions, tools, message, outcomes, reply };
  struct Begin {
    int position = 0;
    Part part = Part::system;
    int turn = 0;  // 0: before the first message
  };
  void read_events(const memory::Store& store);
  void replace_opening(const RenderedOpening& rendered);
  void add(std::span<const engine::Token> tokens, Part part, int turn);
  Part next_user_part(int turn) const noexcept;

  std::string id_;
  std::vector<engine::Token> tokens_;
  std::vector<Begin> begins_;
  std::vector<PendingOutcome> pending_;
  std::optional<Opening> opening_;
  double prefill_speed_ = 0;
  std::int64_t events_ = 0;
  int turns_ = 0;
  bool awaits_reply_ = false;
};

}  // namespace fathom::agent
