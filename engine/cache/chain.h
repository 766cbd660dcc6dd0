// Keys of prefixes: a chained 128-bit hash over blocks of tokens.
#pragma once

#include <bit>
#include <cassert>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/cache/kv_cache.h"
#include "engine/tokenizer.h"

namespace fathom::engine {

// Of all tokens up to the end of a block, and of the engine that computed them. Equal keys make it
// likely that the tokens are equal; whoever relies on it compares them.
struct BlockKey {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const BlockKey&) const = default;
};

struct BlockKeyHash {
  std::size_t operator()(const BlockKey& key) const noexcept { return key.low; }
};

namespace chain {

// Odd constants of SplitMix64 and the golden ratio: multiplying by them is a bijection that spreads
// every bit upwards, the shifts bring it down again.
inline std::uint64_t mixed(std::uint64_t state, std::uint64_t word) noexcept {
  state = (state ^ word) * 0x9E3779B97F4A7C15U;
  return (state ^ (state >> 29)) * 0xBF58476D1CE4E5B9U;
}

inline BlockKey extend(BlockKey key, std::uint64_t word) noexcept {
  return {.low = mixed(key.low, word), .high = mixed(std::rotl(key.high, 23), ~word + key.low)};
}

}  // namespace chain

// The key before the first token.
inline BlockKey root_key(std::string_view fingerprint) noexcept {
  BlockKey key{.low = fingerprint.size(), .high = 1};
  for (const char c : fingerprint) key = chain::extend(key, static_cast<unsigned char>(c));
  return key;
}

// The key after one more block. block [kPageTokens]
inline BlockKey next_key(BlockKey key, std::span<const Token> block) noexcept {
  assert(std::ssize(block) == kPageTokens);
  for (std::size_t i = 0; i < block.size(); i += 2) {
    const auto low = static_cast<std::uint32_t>(block[i]);
    const auto high = static_cast<std::uint32_t>(block[i + 1]);
    key = chain::extend(key, low | std::uint64_t{high} << 32);
  }
  return key;
}

}  // namespace fathom::engine
