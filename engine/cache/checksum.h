// A 64-bit checksum against damage, not against intent.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace fathom::engine {

// Every step is a bijection of the sum, so a change inside any one word always changes the result.
// Feeding the same bytes in other pieces gives another sum.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes) noexcept {
    mix(bytes.size());
    while (bytes.size() >= sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), sizeof word);
      mix(word);
      bytes = bytes.subspan(sizeof word);
    }
    std::uint64_t rest = 0;
    if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
    mix(rest);
  }

  template <class T>
  void add_value(const T& value) noexcept {
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    add(std::as_bytes(std::span(&value, 1)));
  }

  std::uint64_t value() const noexcept { return state_ ^ (state_ >> 31); }

 private:
  // Odd, so multiplying is a bijection; its bits are those of the golden ratio.
  void mix(std::uint64_t word) noexcept {
    state_ = std::rotl(state_ ^ word, 27) * 0x9E3779B97F4A7C15U + 0x2545F4914F6CDD1DU;
  }

  std::uint64_t state_ = 0x6A09E667F3BCC908U;
};

// The same promise for large pieces, several times faster: four sums side by side, then one of
// them.
inline std::uint64_t sum_of(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t kLanes = 4;
  std::uint64_t lanes[kLanes] = {1, 2, 3, 4};
  const std::size_t whole = bytes.size() / (kLanes * sizeof(std::uint64_t));
  const std::byte* at = bytes.data();
  for (std::size_t i = 0; i < whole; ++i) {
    for (std::uint64_t& lane : lanes) {
      std::uint64_t word = 0;
      std::memcpy(&word, at, sizeof word);
      at += sizeof word;
      lane = std::rotl(lane ^ word, 27) * 0x9E3779B97F4A7C15U + 0x2545F4914F6CDD1DU;
    }
  }
  Checksum sum;
  sum.add(std::as_bytes(std::span(lanes)));
  sum.add(bytes.subspan(whole * kLanes * sizeof(std::uint64_t)));
  return sum.value();
}

}  // namespace fathom::engine
