// Scalar formats against their definition in wide arithmetic, over every code.
#include "engine/weights/formats.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A number of sign, exponent and mantissa bits, by the book. `code` has no sign here.
double magnitude(unsigned code, int mantissa_bits, int bias) {
  const int exponent = static_cast<int>(code >> mantissa_bits);
  const double fraction = std::ldexp(code & ((1U << mantissa_bits) - 1), -mantissa_bits);
  return exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
}

// Rounding is right if it is right beside every midpoint: exactly there the even code wins, a hair
// below the lower one, a hair above the upper one. `largest` is the last finite code.
template <typename Decode, typename Encode>
void expect_nearest_even(unsigned largest, unsigned sign, Decode decode, Encode encode) {
  for (unsigned code = 0; code < largest; ++code) {
    const double low = static_cast<double>(decode(code));
    const double high = static_cast<double>(decode(code + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << code;
    const unsigned even = code % 2 == 0 ? code : code + 1;
    EXPECT_EQ(encode(middle), even) << code;
    EXPECT_EQ(encode(std::nextafter(middle, 0.0F)), code) << code;
    EXPECT_EQ(encode(std::nextafter(middle, kInfinity)), code + 1) << code;
    EXPECT_EQ(encode(-middle), even | sign) << code;
  }
}

TEST(Formats, DecodesEveryHalf) {
  for (unsigned code = 0; code < 0x8000; ++code) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(code));
    const float negative = f16_to_f32(static_cast<std::uint16_t>(code | 0x8000U));
    if (code > 0x7C00) {
      EXPECT_TRUE(std::isnan(value) && std::isnan(negative)) << code;
      continue;
    }
    EXPECT_EQ(value, code == 0x7C00 ? kInfinity : static_cast<float>(magnitude(code, 10, 15)));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(negative),
              std::bit_cast<std::uint32_t>(value) | 0x80000000U);
  }
}

TEST(Formats, RoundsToHalfNearestEven) {
  expect_nearest_even(
      0x7BFF, 0x8000, [](unsigned code) { return f16_to_f32(static_cast<std::uint16_t>(code)); },
      [](float value) { return unsigned{f32_to_f16(value)}; });
  EXPECT_EQ(f32_to_f16(65519.996F), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7C00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7C00);
  EXPECT_EQ(f32_to_f16(-kInfinity), 0xFC00);
  EXPECT_EQ(f32_to_f16(0x1p-25F), 0);  // half the smallest, ties to zero
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(kNaN))));
}

TEST(Formats, RoundsToBf16NearestEven) {
  expect_nearest_even(
      0x7F7F, 0x8000, [](unsigned code) { return bf16_to_f32(static_cast<std::uint16_t>(code)); },
      [](float value) { return unsigned{f32_to_bf16(value)}; });
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(f32_to_bf16(-kInfinity), 0xFF80);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(kNaN))));
  // A NaN whose payload lies in the dropped bits must not become infinity.
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001U)))));
}

TEST(Formats, Bf16RoundTripsEveryCode) {
  for (unsigned code = 0; code < 0x10000; ++code) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(code));
    if (std::isnan(value)) continue;
    EXPECT_EQ(f32_to_bf16(value), code);
  }
}

TEST(Formats, DecodesEveryE4m3) {
  for (unsigned code = 0; code < 127; ++code) {
    const float value = e4m3_to_f32(static_cast<std::uint8_t>(code));
    EXPECT_EQ(static_cast<double>(value), magnitude(code, 3, 7)) << code;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(e4m3_to_f32(static_cast<std::uint8_t>(code | 128U))),
              std::bit_cast<std::uint32_t>(-value));
  }
  EXPECT_EQ(e4m3_to_f32(0x7E), 448.0F);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7F)));
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0xFF)));
}

TEST(Formats, RoundsToE4m3NearestEvenAndSaturates) {
  expect_nearest_even(
      0x7E, 0x80, [](unsigned code) { return e4m3_to_f32(static_cast<std::uint8_t>(code)); },
      [](float value) { return unsigned{f32_to_e4m3(value)}; });
  EXPECT_EQ(f32_to_e4m3(1e30F), 0x7E);
  EXPECT_EQ(f32_to_e4m3(-kInfinity), 0xFE);
  EXPECT_EQ(f32_to_e4m3(-0.0F), 0x80);
  EXPECT_EQ(f32_to_e4m3(kNaN) & 0x7F, 0x7F);
}

TEST(Formats, RoundsToE2m1NearestEvenAndSaturates) {
  const std::vector<float> values = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  for (unsigned code = 0; code < 8; ++code) {
    EXPECT_EQ(e2m1_to_f32(static_cast<std::uint8_t>(code)), values[code]);
    EXPECT_EQ(e2m1_to_f32(static_cast<std::uint8_t>(code | 8U)), -values[code]);
  }
  expect_nearest_even(
      7, 8, [](unsigned code) { return e2m1_to_f32(static_cast<std::uint8_t>(code)); },
      [](float value) { return unsigned{f32_to_e2m1(value)}; });
  EXPECT_EQ(f32_to_e2m1(1e30F), 7);
  EXPECT_EQ(f32_to_e2m1(-kInfinity), 15);
  EXPECT_EQ(f32_to_e2m1(kNaN) & 7, 7);
}

TEST(Formats, DecodesEveryUe8m0) {
  for (int code = 0; code < 255; ++code) {
    EXPECT_EQ(static_cast<double>(ue8m0_to_f32(static_cast<std::uint8_t>(code))),
              std::ldexp(1.0, code - 127));
  }
  EXPECT_TRUE(std::isnan(ue8m0_to_f32(255)));
}

}  // namespace
}  // namespace fathom::engine
