// What the numbers stored in IQ formats stand for: points of a code book, and signs.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace fathom::engine {

// A point's magnitudes, a byte each, the first in the lowest byte.
extern const std::array<std::uint64_t, 256> kIq2XxsPoints;  // eight columns
extern const std::array<std::uint64_t, 512> kIq2XsPoints;   // eight columns
extern const std::array<std::uint32_t, 256> kIq3XxsPoints;  // four columns

// The 16 values of IQ4_NL and IQ4_XS: denser near zero, where most weights are.
inline constexpr std::array<std::int8_t, 16> kIq4Values = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Which of eight columns are negative, a bit each: seven bits are stored, the eighth makes the
// number of negative columns even.
constexpr unsigned signs_of(unsigned seven_bits) noexcept {
  return seven_bits | (static_cast<unsigned>(std::popcount(seven_bits)) & 1U) << 7;
}

}  // namespace fathom::engine
