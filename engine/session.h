// One mutable timeline of tokens and the state the model keeps of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/prefix_cache.h"

namespace fathom::engine {

// What a prefill did. `reused + prefilled` is less than the prompt when it was stopped.
struct Prefill {
  int reused = 0;       // tokens whose state was there: after going back, the latest kept moment
  int prefilled = 0;    // tokens computed
  int rebuilt = 0;      // of them: what it cost, in tokens, to compute windows again over kept rows
  int reused_disk = 0;  // of the reused, whose rows were read from disk now
  int damaged = 0;      // blocks and moments that were found damaged on disk, and are dropped
  double seconds = 0;

  // Where the prompt leaves everything that this session, or its cache, has seen: its first `known`
  // tokens were, `instead` is what came next then, some tokens of it. Empty: nothing came.
  int known = 0;
  std::vector<Token> instead = {};
};

// Tokens that were drafted and computed ahead, and those of them that were appended then.
struct DraftCounts {
  std::int64_t drafted = 0;
  std::int64_t accepted = 0;
};

// Called at least every 0.5 s of a prefill with tokens computed so far and tokens to compute, also
// while it waits for other sessions. On the thread that prefills; others need not wait for it.
using PrefillProgress = std::function<void(int done, int total)>;

// The bits of every result depend on the tokens alone: not on chunks, threads, truncation, forks,
// restoring or other sessions (within one kernel set). Used by one thread at a time; sessions of
// different threads are computed together. What computes throws Error if too many sessions are at
// work, or their states take too much memory (see SchedulingOptions).
class Session {
 public:
  // `cache`: where it finds what others computed, and leaves what it computes; may be null. `name`:
  // equal for sessions that go on with one another, also in another run; their newest end stays on
  // disk. Empty: this session is gone with the object.
  explicit Session(std::shared_ptr<const Engine> engine,
                   std::shared_ptr<PrefixCache> cache = nullptr, std::string_view name = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // Makes `prompt` the timeline: keeps the longest common prefix and computes the rest. Afterwards
  // logits() are those of the last token. A stop takes at most 0.2 s and leaves the tokens computed
  // so far; logits() may then be empty. Throws Error if memory cannot be had, an id is unknown, or,
  // with the session empty then, a result is not finite or a file of weights is not as it was.
  Prefill sync(std::span<const Token> prompt, const PrefillProgress& progress,
               std::stop_token stop);

  // Tokens that sync(prompt) would compute now; the timeline stays as it is.
  int to_compute(std::span<const Token> prompt);

  // Appends one token (decode). Returns logits [vocab_size], valid until the next call. Where the
  // engine drafts, they may have been computed before: drafts show in time and counts alone.
  std::span<const float> append(Token token);

  // Appends tokens and hands out the logits of each: visit(position, logits [vocab_size]).
  void extend(std::span<const Token> tokens,
              const std::function<void(int position, std::span<const float> logits)>& visit);

  // Whose tokens go first where several sessions wait. A fork has it too; interactive at first.
  void set_priority(Priority priority) noexcept;

  // Forgets all tokens from position `tokens` on. Going back d tokens computes at most about
  // d + 128 again, from the latest moment that is kept.
  void truncate(int tokens);

  // Leaves the present moment in the cache: here the timeline can be taken up again for nothing.
  void remember();
  // The same for a position that the next sync() computes: others will share the prompt up to it.
  void remember_at(int position);

  std::span<const Token> tokens() const noexcept;
  std::span<const float> logits() const noexcept;  // of the last token; empty when there is none

  // Since the session was made or restored; a fork counts on.
  DraftCounts drafts() const noexcept;

  // A second timeline that begins with this one's tokens.
  Session fork() const;

  // Writes the whole state; restore() needs an engine with the same fingerprint and throws Error
  // on any other file, also a truncated or altered one.
  void save(const std::filesystem::path& file) const;
  static Session restore(std::shared_ptr<const Engine> engine, const std::filesystem::path& file);

  // Logits of the MTP block at positions of this timeline: visit(position, logits). Pairs the
  // trunk streams of position p with the token at p + 1. Needs record_streams() before feeding.
  void record_streams(bool on);
  void mtp(std::span<const int> positions,
           const std::function<void(int position, std::span<const float> logits)>& visit);

  // Makes `tokens` the timeline without computing them: rows and state are random but valid. For
  // measuring at depths that would take hours; logits() are then empty.
  void fill_random(std::span<const Token> tokens);

  std::int64_t bytes() const noexcept;  // memory that this session's state takes now

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fathom::engine
