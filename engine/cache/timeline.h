// A session's side of the shared cache: offers what it computes, finds what others did.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/cache/shared_prefixes.h"

namespace fathom::engine {

// Does nothing without a cache. Used by one thread at a time.
class Timeline {
 public:
  Timeline();
  // `name`: the same for sessions that go on with one another; empty: this session alone.
  Timeline(std::shared_ptr<PrefixCache> cache, std::string_view name);
  // A copy is a timeline of its own, without a name.
  Timeline(const Timeline& other);
  Timeline(Timeline&&) noexcept;
  Timeline& operator=(Timeline&&) noexcept;
  ~Timeline();

  // After the session's state changed: `tokens` are its own, `cache` theirs. Offers pages that are
  // full now. Throws nothing but std::bad_alloc.
  void follow(std::span<const Token> tokens, KvCache& cache);

  // Offers the moment after all tokens that were followed and `tokens` beyond.
  void add_moment(std::span<const Token> tokens, std::shared_ptr<const Snapshot> state);

  // The session went back to `tokens` tokens.
  void cut(int tokens);

  // As PrefixCache::Parts has them. The first `longer_than` tokens of the prompt are the session's.
  PrefixCache::Parts::Found find(std::span<const Token> prompt, int longer_than) const;
  int reachable(std::span<const Token> prompt, int longer_than) const;

  explicit operator bool() const noexcept { return cache_ != nullptr; }

 private:
  KnownWay own(int tokens) const noexcept;

  std::shared_ptr<PrefixCache> cache_;
  Origin origin_;
  std::vector<BlockKey> keys_;  // after each block that was offered
  bool refused_ = false;        // a block met another one under its key

  // Tells the cache where this session stands, for as long as it lives.
  class Stand;
  std::unique_ptr<Stand> stand_;
};

}  // namespace fathom::engine
