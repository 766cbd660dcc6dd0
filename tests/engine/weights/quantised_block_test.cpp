// Every quantised format against values that the Python package `gguf` computed.
#include "engine/weights/quantised_block.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/weights/tensor.h"

namespace fathom::engine {
namespace {

// What gguf_package.py --table prints, with version 0.19.0 of the package: of 300 blocks of random
// bytes in each format, the bits of the values at 0, 97, 194, …, and a checksum of all.
struct Expected {
  Format format;
  std::vector<std::uint32_t> samples;
  std::uint64_t checksum;
};

const Expected kExpected[] = {
#include "tests/engine/weights/quantised_values.inc"
};

// Bytes that every language computes alike: scales become any half, NaN and infinity among them.
std::vector<std::byte> random_bytes(std::size_t count) {
  std::uint64_t state = 1;
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56);
  }
  return bytes;
}

// The bits, all kinds of NaN as one: which payload a product of NaN has depends on the compiler.
std::uint32_t bits_of(float value) {
  return std::isnan(value) ? 0x7FC00000U : std::bit_cast<std::uint32_t>(value);
}

std::uint64_t checksum_of(const std::vector<float>& values) {
  std::uint64_t sum = 14695981039346656037U;
  for (const float value : values) {
    for (int shift = 0; shift < 32; shift += 8) {
      sum = (sum ^ ((bits_of(value) >> shift) & 255U)) * 1099511628211U;
    }
  }
  return sum;
}

TEST(QuantisedBlock, HasTheValuesOfThePackage) {
  for (const Expected& expected : kExpected) {
    const FormatLayout& layout = layout_of(expected.format);
    SCOPED_TRACE(std::string(layout.name));
    constexpr int kBlocks = 300;
    const auto bytes = random_bytes(static_cast<std::size_t>(kBlocks * layout.bytes));
    std::vector<float> values(static_cast<std::size_t>(kBlocks * layout.entries));
    const Tensor tensor{.format = expected.format,
                        .rows = 1,
                        .columns = std::ssize(values),
                        .row_bytes = std::ssize(bytes),
                        .data = bytes.data()};
    dequantize_row(tensor, 0, values.data());
    for (std::size_t i = 0; i < expected.samples.size(); ++i) {
      EXPECT_EQ(bits_of(values[97 * i]), expected.samples[i]) << 97 * i;
    }
    EXPECT_EQ(checksum_of(values), expected.checksum);
  }
}

TEST(QuantisedBlock, IsTestedInEveryFormat) {
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    const auto* found = std::ranges::find(kExpected, format, &Expected::format);
    EXPECT_EQ(is_quantised(format), found != std::end(kExpected)) << format_name(format);
  }
}

}  // namespace
}  // namespace fathom::engine
