// Rounding to quantised formats: how much is lost, and what must not be.
#include "engine/weights/quantise.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/weights/formats.h"
#include "engine/weights/quantised_block.h"

namespace fathom::engine {
namespace {

std::vector<float> there_and_back(Format format, const std::vector<float>& values) {
  std::vector<std::byte> row(static_cast<std::size_t>(bytes_of(format, std::ssize(values))));
  quantise_row(format, values, row.data());
  std::vector<float> back(values.size());
  const Tensor tensor{.format = format,
                      .rows = 1,
                      .columns = std::ssize(values),
                      .row_bytes = std::ssize(row),
                      .data = row.data()};
  dequantize_row(tensor, 0, back.data());
  return back;
}

std::vector<float> normal_values(std::size_t count, float spread, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / size);
}

// What rounding to the nearest of 2^bits even steps costs normal values when the largest of a few
// dozen sets the step, and a little less for searching; measured once, with a tenth to spare.
TEST(Quantise, LosesNoMoreThanItsBitsExplain) {
  const std::vector<float> values = normal_values(64 * 256, 0.02F);
  const struct {
    Format format;
    double error;
  } expected[] = {
      {Format::f32, 0},       {Format::f16, 3e-4},   {Format::bf16, 2.3e-3}, {Format::q8_0, 6e-3},
      {Format::mxfp4, 0.125}, {Format::q4_0, 0.090}, {Format::q4_1, 0.078},  {Format::q5_0, 0.045},
      {Format::q5_1, 0.038},  {Format::q2_k, 0.30},  {Format::q3_k, 0.165},  {Format::q4_k, 0.080},
      {Format::q5_k, 0.040},  {Format::q6_k, 0.020},
  };
  for (const auto& [format, error] : expected) {
    EXPECT_LE(relative_error(there_and_back(format, values), values), error) << format_name(format);
  }
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    const bool tested =
        std::ranges::any_of(expected, [&](const auto& row) { return row.format == format; });
    EXPECT_EQ(tested, can_quantise(format)) << format_name(format);
  }
}

TEST(Quantise, KeepsZerosAndExtremes) {
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    if (!can_quantise(format)) continue;
    SCOPED_TRACE(format_name(format));
    const std::vector<float> zeros(256);
    EXPECT_EQ(there_and_back(format, zeros), zeros);
    for (const float size : {1e-30F, 1e-7F, 1.0F, 3e4F}) {
      std::vector<float> one(256);
      one[37] = -size;
      for (const float value : there_and_back(format, one)) {
        EXPECT_TRUE(std::isfinite(value) && std::fabs(value) <= 1.1F * size + 1e-6F) << value;
      }
      const std::vector<float> constant(256, size);
      for (const float value : there_and_back(format, constant)) {
        EXPECT_NEAR(value, size, 0.1F * size + 1e-6F);
      }
    }
  }
}

// Weights that were integers times a power of two, as FP8 gives them, come back to the bit.
TEST(Quantise, Q8TakesWhatFitsWithoutLoss) {
  std::mt19937 random(3);
  std::vector<float> values(256);
  for (float& value : values) {
    // E4M3 codes of four neighbouring exponents.
    const auto code = static_cast<std::uint8_t>(0x38 + random() % 32 + (random() % 2) * 128);
    value = e4m3_to_f32(code) * 0x1p-9F;
  }
  EXPECT_EQ(there_and_back(Format::q8_0, values), values);
}

TEST(Quantise, Mxfp4TakesItsOwnValuesWithoutLoss) {
  std::mt19937 random(4);
  std::vector<float> values(256);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float scale = std::ldexp(1.0F, static_cast<int>(i / 32) * 9 - 30);
    values[i] = e2m1_to_f32(static_cast<std::uint8_t>(random() % 16)) * scale;
  }
  EXPECT_EQ(there_and_back(Format::mxfp4, values), values);
}

// Blocks are whole: rounding what was rounded changes little, and each row stands for itself.
TEST(Quantise, RoundsRowsTheSameWhereverTheyAre) {
  const std::vector<float> first = normal_values(256, 1, 5), second = normal_values(256, 1, 6);
  std::vector<float> both = first;
  both.insert(both.end(), second.begin(), second.end());
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    if (!can_quantise(format)) continue;
    std::vector<float> apart = there_and_back(format, first);
    const std::vector<float> rest = there_and_back(format, second);
    apart.insert(apart.end(), rest.begin(), rest.end());
    EXPECT_EQ(there_and_back(format, both), apart) << format_name(format);
  }
}

}  // namespace
}  // namespace fathom::engine
