// What cache rows and indexer keys become, against the rule of spec architecture 7.2 in double.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "engine/weights/formats.h"

namespace fathom::engine {
namespace {

// A mini float in double: the nearest of `values`, ascending with even codes at even places.
double nearest(double value, const std::vector<double>& values) {
  const double magnitude = std::min(std::fabs(value), values.back());
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    const double gain = std::fabs(values[best] - magnitude) - std::fabs(values[i] - magnitude);
    if (gain > 0 || (gain == 0 && i % 2 == 0)) best = i;
  }
  return std::copysign(values[best], value);
}

std::vector<double> e4m3_values() {
  std::vector<double> values;
  for (int code = 0; code < 127; ++code) {
    const int exponent = code >> 3;
    values.push_back(exponent == 0 ? std::ldexp(code, -9)
                                   : std::ldexp(8 + (code & 7), exponent - 10));
  }
  return values;
}

double bf16(float value) {
  return static_cast<double>(bf16_to_f32(f32_to_bf16(value)));
}

// The rule: the smallest power of two that brings the largest magnitude under the format's largest.
std::vector<float> expected_group(std::span<const float> group, const std::vector<double>& values,
                                  double least) {
  double largest = least;
  for (const float value : group) largest = std::max(largest, std::fabs(bf16(value)));
  int exponent = -140;
  while (std::ldexp(values.back(), exponent) < largest) ++exponent;
  std::vector<float> rounded;
  for (const float value : group) {
    const double scaled = std::ldexp(bf16(value), -exponent);
    rounded.push_back(static_cast<float>(std::ldexp(nearest(scaled, values), exponent)));
  }
  return rounded;
}

std::vector<std::uint32_t> bits(std::span<const float> values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

// Rows of many sizes, with ties, zeros and values of very different magnitude among them.
std::vector<std::vector<float>> some_rows(int width) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> whole(-500, 500), exponent(-40, 40);
  std::vector<std::vector<float>> rows;
  for (int row = 0; row < 300; ++row) {
    std::vector<float> values;
    const int scale = exponent(random);
    for (int i = 0; i < width; ++i) {
      const float value = row % 3 == 0 ? static_cast<float>(whole(random)) : normal(random);
      const int spread = row % 3 == 2 ? exponent(random) / 4 : 0;
      values.push_back(std::ldexp(value, row % 3 == 0 ? -3 : scale + spread));
    }
    rows.push_back(std::move(values));
  }
  rows.emplace_back(width, 0.0F);
  rows.emplace_back(width, -0.0F);
  rows.emplace_back(width, 1e-40F);
  return rows;
}

constexpr int kWidth = 192;
constexpr int kRope = 64;

TEST(CacheRows, RoundByTheRule) {
  const auto values = e4m3_values();
  for (auto row : some_rows(kWidth)) {
    std::vector<float> expected;
    for (int begin = 0; begin < kWidth - kRope; begin += 64) {
      const auto group =
          expected_group(std::span(row).subspan(static_cast<std::size_t>(begin), 64), values, 1e-4);
      expected.insert(expected.end(), group.begin(), group.end());
    }
    for (int i = kWidth - kRope; i < kWidth; ++i) {
      expected.push_back(static_cast<float>(bf16(row[static_cast<std::size_t>(i)])));
    }
    round_row(row, kRope);
    ASSERT_EQ(bits(row), bits(expected));
  }
}

TEST(CacheRows, KeysRoundByTheRule) {
  const std::vector<double> values = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (auto key : some_rows(128)) {
    std::vector<float> expected;
    for (std::size_t begin = 0; begin < key.size(); begin += 32) {
      const auto group = expected_group(std::span(key).subspan(begin, 32), values, 6 * 0x1p-126);
      expected.insert(expected.end(), group.begin(), group.end());
    }
    round_key(key);
    ASSERT_EQ(bits(key), bits(expected));
  }
}

TEST(CacheRows, UnpackingGivesTheRoundedBits) {
  for (auto row : some_rows(kWidth)) {
    std::vector<std::byte> packed(static_cast<std::size_t>(packed_row_bytes(kWidth, kRope)));
    std::vector<float> unpacked(row.size());
    pack_row(row, kRope, packed);
    unpack_row(packed, kRope, unpacked);
    round_row(row, kRope);
    ASSERT_EQ(bits(unpacked), bits(row));

    // What is rounded stays as it is: forks and restored sessions hold the same rows.
    auto again = row;
    round_row(again, kRope);
    ASSERT_EQ(bits(again), bits(row));
  }
}

TEST(CacheRows, UnpackingGivesTheRoundedKeyBits) {
  for (auto key : some_rows(128)) {
    std::vector<std::byte> packed(static_cast<std::size_t>(packed_key_bytes(128)));
    std::vector<float> unpacked(key.size());
    pack_key(key, packed);
    unpack_key(packed, unpacked);
    round_key(key);
    ASSERT_EQ(bits(unpacked), bits(key));
  }
}

// Values of oracle quant.kv_fp8_sim and fp4_sim.
TEST(CacheRows, MatchTheOracle) {
  std::vector<float> row(128);
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) * 0.173F;
  }
  auto key = row;
  round_row(row, 64);
  round_key(key);
  EXPECT_EQ(row[0], -9.0F);
  EXPECT_EQ(row[1], -2.25F);
  EXPECT_EQ(row[7], 1.25F);
  EXPECT_EQ(row[31], -2.5F);
  EXPECT_EQ(row[63], -7.5F);
  EXPECT_EQ(row[64], -0.86328125F);
  EXPECT_EQ(row[100], 2.421875F);
  EXPECT_EQ(row[127], 0.51953125F);
  EXPECT_EQ(key[0], -8.0F);
  EXPECT_EQ(key[1], -2.0F);
  EXPECT_EQ(key[7], 1.0F);
  EXPECT_EQ(key[31], -2.0F);
  EXPECT_EQ(key[63], -8.0F);
  EXPECT_EQ(key[64], -1.0F);
  EXPECT_EQ(key[100], 2.0F);
  EXPECT_EQ(key[127], 1.0F);
}

TEST(CacheRows, SizesAreThoseOfTheDeployedLayout) {
  EXPECT_EQ(packed_row_bytes(512, 64), 584);
  EXPECT_EQ(packed_key_bytes(128), 68);
  EXPECT_TRUE(has_packed_row(96, 32));
  EXPECT_FALSE(has_packed_row(96, 64));
}

TEST(CacheRows, SurvivesWhatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> row(kWidth, 1.0F);
  row[3] = std::numeric_limits<float>::quiet_NaN();
  row[70] = kInfinity;
  round_row(row, kRope);
  EXPECT_TRUE(std::isnan(row[3]));
  EXPECT_EQ(row[4], 1.0F);
  EXPECT_GT(row[70], 1e38F);
}

}  // namespace
}  // namespace fathom::engine
