// Hashing for the tokenizer's two tables, both open-addressed and sized to powers of two.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace fathom::engine {

// 2^64 divided by the golden ratio: multiplying by it spreads neighbours over the upper bits.
inline constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15U;

inline std::uint64_t mixed(std::uint64_t hash, std::uint64_t word) noexcept {
  hash = (hash ^ word) * kGolden;
  return (hash ^ (hash >> 32)) * kGolden;
}

inline std::uint64_t hash_of(std::string_view bytes) noexcept {
  std::uint64_t hash = bytes.size();
  std::uint64_t word = 0;
  while (bytes.size() >= sizeof word) {
    std::memcpy(&word, bytes.data(), sizeof word);
    hash = mixed(hash, word);
    bytes.remove_prefix(sizeof word);
  }
  word = 0;
  for (const char c : bytes) word = word << 8 | static_cast<unsigned char>(c);
  return mixed(hash, word);
}

// Slots for `entries` that leave half of them free.
constexpr std::size_t slots_for(std::size_t entries) noexcept {
  return std::bit_ceil(entries * 2 + 2);
}

// Where probing for `hash` starts. The bits above 24 are well mixed; the lowest ones are not.
constexpr std::size_t first_slot(std::uint64_t hash, std::size_t slots) noexcept {
  return (hash >> 24) & (slots - 1);
}

constexpr std::size_t next_slot(std::size_t at, std::size_t slots) noexcept {
  return (at + 1) & (slots - 1);
}

}  // namespace fathom::engine
