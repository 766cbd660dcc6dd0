// Speculative decoding: the MTP block drafts tokens, and one pass of the model computes them all.
//
// A pass over 1 + k tokens takes little longer than one over a single token, because the weights
// are read once. So the token that the caller appends is fed with k drafts of what may follow. If
// the caller then appends just those, their logits are there; at the first other token, what was
// computed behind is taken back. The caller chooses every token from the model's own logits, so
// drafts change no result: a draft is certain, for which rejection sampling is to sample and to
// compare, and the bits of logits do not depend on how tokens were fed.
//
// The block pairs a token with the trunk's streams of the token before it (spec architecture 6),
// and has a window of its own. The streams of the last few tokens are kept, so that a prompt costs
// nothing: the block begins with those when it first drafts, and has a shorter memory after that.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/backend.h"
#include "engine/cache/kv_cache.h"
#include "engine/drafting/draft_length.h"
#include "engine/engine.h"
#include "engine/session.h"

namespace fathom::engine {

// One session's drafts and what the block needs to make them. Does nothing for an engine without
// the block, or one that is told not to draft. Used by one thread at a time.
class Drafter {
 public:
  // `parts` outlives it.
  explicit Drafter(const Engine::Parts& parts);

  // All memory that later calls need. May throw std::bad_alloc.
  void reserve();

  // How many of a pass's last rows it wants the streams of.
  int streams_wanted(int rows) const noexcept;
  // A pass left these streams [rows, hc_mult · hidden_size] of the tokens from `position` on.
  void follow(int position, ConstMatrix streams) noexcept;
  // The timeline has only `tokens` tokens left.
  void cut(int tokens) noexcept;

  // Drafts what may follow `token`, which will follow `tokens`. Returns what the next pass is to
  // be fed, at most `rows` tokens: `token`, then drafts. Valid until the next call. May
  // take the cores for it; may throw std::bad_alloc.
  std::span<const Token> draft(std::span<const Token> tokens, Token token, int rows);
  // Of the drafts in that pass, in order. False where no more are wanted.
  bool keep(std::span<const float> logits) noexcept;
  // The pass took so long.
  void passed(double seconds) noexcept;

  // The caller appends `token`. Its logits if it was drafted and computed, valid until the next
  // draft(); else nothing, and the drafts are forgotten.
  std::span<const float> take(Token token) noexcept;
  void forget_drafts() noexcept;

  DraftCounts counts() const noexcept { return counts_; }
  std::int64_t bytes() const noexcept;

 private:
  bool can_draft(int tokens) const noexcept;
  int begin_pairs(int last) noexcept;
  ConstMatrix streams_from(int position, int rows) const noexcept;
  Token run_block(std::span<const Token> tokens, ConstMatrix streams);

  const Engine::Parts* parts_;
  std::optional<KvCache> block_;  // the block's window; none: nothing is ever drafted
  DraftLength length_;
  int paired_ = 0;              // the block has seen tokens before this position, the last of
                                // them block_->length() in a row
  std::vector<float> streams_;  // of tokens [first_, end_), one row each
  int first_ = 0, end_ = 0;
  std::vector<float> own_;     // one row: the block's streams, to draft further
  std::vector<Token> pairs_;   // the tokens that the block is fed
  Undo undo_;                  // of drafts in the block's window
  std::vector<Token> fed_;     // the appended token, then drafts
  std::vector<float> logits_;  // [kDraftTokensMax, vocab_size]: of drafts that were computed
  int computed_ = 0;
  int taken_ = 0;
  DraftCounts counts_;
};

}  // namespace fathom::engine
