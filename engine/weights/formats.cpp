// Exact conversions between f32 and the small formats, and the cache round trips built on them.
#include "engine/weights/formats.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

namespace fathom::engine {
namespace {

constexpr float kE4m3Max = 448;
constexpr float kE2m1Max = 6;
constexpr int kUe8m0Bias = 127;

constexpr std::uint32_t kSignBit = 0x80000000U;
constexpr std::uint32_t kInfinityBits = 0x7F800000U;

// The smallest largest entry a group is given a scale for (oracle kv_fp8_sim and fp4_sim).
constexpr double kRowGroupMin = 1e-4;
constexpr double kKeyGroupMin = 6 * 0x1p-126;

// Drops the low `bits` of a magnitude, rounding to nearest, ties to even. A carry runs into the
// exponent, which is what rounding up to the next power of two means.
constexpr std::uint32_t round_shift(std::uint32_t magnitude, int bits) noexcept {
  const std::uint32_t half = (1U << (bits - 1)) - 1;
  return (magnitude + half + ((magnitude >> bits) & 1U)) >> bits;
}

// Counts how often `unit` fits into a magnitude below 2^22 · unit, to nearest, ties to even: at
// 2^23 · unit the last bit of a float is worth one unit, so the addition itself rounds.
std::uint32_t count_units(float magnitude, float unit) noexcept {
  const float base = unit * 0x1p23F;
  return std::bit_cast<std::uint32_t>(magnitude + base) - std::bit_cast<std::uint32_t>(base);
}

constexpr std::array<float, 256> e4m3_values() {
  std::array<float, 256> values{};
  for (int code = 0; code < 128; ++code) {
    const int exponent = code >> 3;
    float value = exponent == 0 ? static_cast<float>(code) : static_cast<float>(8 + (code & 7));
    value *= 0x1p-9F;
    for (int i = 1; i < exponent; ++i) value *= 2;
    if (code == 127) value = std::numeric_limits<float>::quiet_NaN();
    const auto index = static_cast<std::size_t>(code);
    values[index] = value;
    values[index + 128] = -value;
  }
  return values;
}

constexpr std::array<float, 256> kE4m3Values = e4m3_values();
constexpr std::array<float, 16> kE2m1Values = {0,     0.5F,  1,     1.5F,  2,   3,   4,   6,
                                               -0.0F, -0.5F, -1.0F, -1.5F, -2., -3., -4., -6.};

// The exponent e of the scale 2^e that brings a group's largest magnitude to at most `code_max`.
// Evaluated like the oracle: quotient in double, its power of two in float.
int scale_exponent(double largest, double least, float code_max) noexcept {
  const double bounded =
      std::clamp(largest, least, static_cast<double>(std::numeric_limits<float>::max()));
  int exponent = 0;
  const float fraction = std::frexp(static_cast<float>(bounded / code_max), &exponent);
  return fraction == 0.5F ? exponent - 1 : exponent;
}

// Largest magnitude of a group after rounding to BF16; NaN does not count.
float largest_bf16(std::span<const float> group) noexcept {
  float largest = 0;
  for (const float value : group) {
    const float magnitude = std::fabs(bf16_to_f32(f32_to_bf16(value)));
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

int row_exponent(std::span<const float> group) noexcept {
  return scale_exponent(largest_bf16(group), kRowGroupMin, kE4m3Max);
}

float power_of_two(int exponent) noexcept {
  return std::ldexp(1.0F, exponent);
}

// `factor`: 1 / scale
std::uint8_t row_code(float value, float factor) noexcept {
  return f32_to_e4m3(bf16_to_f32(f32_to_bf16(value)) * factor);
}

std::uint8_t key_code(float value, float factor) noexcept {
  return f32_to_e2m1(bf16_to_f32(f32_to_bf16(value)) * factor);
}

std::byte scale_code(int exponent) noexcept {
  return static_cast<std::byte>(exponent + kUe8m0Bias);
}

}  // namespace

float f16_to_f32(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t magnitude = half & 0x7FFFU;
  if (magnitude < 0x0400U) {  // zero and subnormals: so many 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
  }
  if (magnitude >= 0x7C00U) return std::bit_cast<float>(sign | kInfinityBits | (magnitude << 13));
  return std::bit_cast<float>(sign | ((magnitude << 13) + ((127U - 15U) << 23)));
}

std::uint16_t f32_to_f16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits & kSignBit) >> 16);
  const std::uint32_t magnitude = bits & ~kSignBit;
  std::uint32_t half = 0;
  if (magnitude > kInfinityBits) {
    half = 0x7E00U;
  } else if (magnitude >= std::bit_cast<std::uint32_t>(0x1p16F)) {
    half = 0x7C00U;
  } else if (magnitude >= std::bit_cast<std::uint32_t>(0x1p-14F)) {
    half = round_shift(magnitude - ((127U - 15U) << 23), 13);
  } else {
    half = count_units(std::bit_cast<float>(magnitude), 0x1p-24F);
  }
  return static_cast<std::uint16_t>(sign | half);
}

float bf16_to_f32(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t f32_to_bf16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits & kSignBit) >> 16;
  const std::uint32_t magnitude = bits & ~kSignBit;
  if (magnitude > kInfinityBits) return static_cast<std::uint16_t>(sign | 0x7FC0U);
  return static_cast<std::uint16_t>(sign | round_shift(magnitude, 16));
}

float e4m3_to_f32(std::uint8_t code) noexcept {
  return kE4m3Values[code];
}

std::uint8_t f32_to_e4m3(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((bits & kSignBit) >> 24);
  const std::uint32_t magnitude = bits & ~kSignBit;
  std::uint32_t code = 0;
  if (magnitude > kInfinityBits) {
    code = 0x7FU;
  } else if (magnitude >= std::bit_cast<std::uint32_t>(kE4m3Max)) {
    code = 0x7EU;
  } else if (magnitude >= std::bit_cast<std::uint32_t>(0x1p-6F)) {
    code = round_shift(magnitude - ((127U - 7U) << 23), 20);
  } else {
    code = count_units(std::bit_cast<float>(magnitude), 0x1p-9F);
  }
  return static_cast<std::uint8_t>(sign | code);
}

float e2m1_to_f32(std::uint8_t code) noexcept {
  return kE2m1Values[code & 15U];
}

// Counts the midpoints a magnitude lies above; one it equals belongs to the even code.
std::uint8_t f32_to_e2m1(float value) noexcept {
  const float m = std::fabs(value);
  const int code = !(m <= 0.25F) + !(m < 0.75F) + !(m <= 1.25F) + !(m < 1.75F) + !(m <= 2.5F) +
                   !(m < 3.5F) + !(m <= 5.0F);
  return static_cast<std::uint8_t>(code | (std::signbit(value) ? 8 : 0));
}

float ue8m0_to_f32(std::uint8_t code) noexcept {
  if (code == 0) return 0x1p-127F;
  if (code == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 23);
}

void round_f16(std::span<float> values) noexcept {
  for (float& value : values) value = f16_to_f32(f32_to_f16(value));
}

bool has_packed_row(int head_dim, int rope) noexcept {
  return rope >= 0 && rope <= head_dim && (head_dim - rope) % kKvGroup == 0;
}

std::int64_t packed_row_bytes(int head_dim, int rope) noexcept {
  assert(has_packed_row(head_dim, rope));
  const std::int64_t groups = (head_dim - rope) / kKvGroup;
  return (head_dim - rope) + 2 * rope + (groups + 7) / 8 * 8;
}

void round_row(std::span<float> row, int rope) noexcept {
  assert(has_packed_row(static_cast<int>(row.size()), rope));
  const std::size_t codes = row.size() - static_cast<std::size_t>(rope);
  for (std::size_t begin = 0; begin < codes; begin += kKvGroup) {
    const auto group = row.subspan(begin, kKvGroup);
    const int exponent = row_exponent(group);
    const float scale = power_of_two(exponent);
    const float factor = power_of_two(-exponent);
    for (float& value : group) value = e4m3_to_f32(row_code(value, factor)) * scale;
  }
  for (float& value : row.subspan(codes)) value = bf16_to_f32(f32_to_bf16(value));
}

void pack_row(std::span<const float> row, int rope, std::span<std::byte> packed) noexcept {
  assert(std::ssize(packed) == packed_row_bytes(static_cast<int>(row.size()), rope));
  const std::size_t codes = row.size() - static_cast<std::size_t>(rope);
  const auto scales = packed.subspan(codes + 2 * static_cast<std::size_t>(rope));
  std::ranges::fill(scales, std::byte{0});
  for (std::size_t begin = 0; begin < codes; begin += kKvGroup) {
    const auto group = row.subspan(begin, kKvGroup);
    const int exponent = row_exponent(group);
    scales[begin / kKvGroup] = scale_code(exponent);
    const float factor = power_of_two(-exponent);
    std::ranges::transform(group, packed.subspan(begin).begin(), [factor](float value) {
      return static_cast<std::byte>(row_code(value, factor));
    });
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(rope); ++i) {
    const std::uint16_t bits = f32_to_bf16(row[codes + i]);
    std::memcpy(&packed[codes + 2 * i], &bits, sizeof bits);
  }
}

void unpack_row(std::span<const std::byte> packed, int rope, std::span<float> row) noexcept {
  assert(std::ssize(packed) == packed_row_bytes(static_cast<int>(row.size()), rope));
  const std::size_t codes = row.size() - static_cast<std::size_t>(rope);
  const auto scales = packed.subspan(codes + 2 * static_cast<std::size_t>(rope));
  for (std::size_t i = 0; i < codes; ++i) {
    row[i] = e4m3_to_f32(static_cast<std::uint8_t>(packed[i])) *
             ue8m0_to_f32(static_cast<std::uint8_t>(scales[i / kKvGroup]));
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(rope); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, &packed[codes + 2 * i], sizeof bits);
    row[codes + i] = bf16_to_f32(bits);
  }
}

std::int64_t packed_key_bytes(int index_head_dim) noexcept {
  assert(index_head_dim % kKeyGroup == 0);
  return index_head_dim / 2 + index_head_dim / kKeyGroup;
}

int key_exponent(float largest) noexcept {
  return scale_exponent(largest, kKeyGroupMin, kE2m1Max);
}

void round_key(std::span<float> key) noexcept {
  assert(key.size() % kKeyGroup == 0);
  for (std::size_t begin = 0; begin < key.size(); begin += kKeyGroup) {
    const auto group = key.subspan(begin, kKeyGroup);
    const int exponent = key_exponent(largest_bf16(group));
    const float scale = power_of_two(exponent);
    const float factor = power_of_two(-exponent);
    for (float& value : group) value = e2m1_to_f32(key_code(value, factor)) * scale;
  }
}

void pack_key(std::span<const float> key, std::span<std::byte> packed) noexcept {
  assert(std::ssize(packed) == packed_key_bytes(static_cast<int>(key.size())));
  const auto scales = packed.subspan(key.size() / 2);
  for (std::size_t begin = 0; begin < key.size(); begin += kKeyGroup) {
    const auto group = key.subspan(begin, kKeyGroup);
    const int exponent = key_exponent(largest_bf16(group));
    const float factor = power_of_two(-exponent);
    scales[begin / kKeyGroup] = scale_code(exponent);
    for (std::size_t i = 0; i < kKeyGroup; i += 2) {
      const int low = key_code(group[i], factor);
      const int high = key_code(group[i + 1], factor);
      packed[(begin + i) / 2] = static_cast<std::byte>(low | (high << 4));
    }
  }
}

void unpack_key(std::span<const std::byte> packed, std::span<float> key) noexcept {
  assert(std::ssize(packed) == packed_key_bytes(static_cast<int>(key.size())));
  const auto scales = packed.subspan(key.size() / 2);
  for (std::size_t i = 0; i < key.size(); i += 2) {
    const auto pair = static_cast<std::uint8_t>(packed[i / 2]);
    const float scale = ue8m0_to_f32(static_cast<std::uint8_t>(scales[i / kKeyGroup]));
    key[i] = e2m1_to_f32(pair & 15U) * scale;
    key[i + 1] = e2m1_to_f32(static_cast<std::uint8_t>(pair >> 4)) * scale;
  }
}

}  // namespace fathom::engine
