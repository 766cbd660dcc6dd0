// Takes the integers and scales of every quantised format out of their bits.
#include "engine/weights/quantised_block.h"

#include <bit>
#include <cassert>
#include <cstring>

#include "engine/weights/code_books.h"
#include "engine/weights/formats.h"

namespace fathom::engine {
namespace {

constexpr int kHalf = kBlock / 2;

template <typename T>
T read(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float half_at(const std::byte* bytes) noexcept {
  return f16_to_f32(read<std::uint16_t>(bytes));
}

int byte_at(const std::byte* bytes, int index = 0) noexcept {
  return std::to_integer<int>(bytes[index]);
}

void set_scale(QuantisedBlock& block, float scale) noexcept {
  block.scale = {scale, scale};
}

void set_minimum(QuantisedBlock& block, float minimum) noexcept {
  block.minimum = {minimum, minimum};
}

// Code i is the low nibble of byte i, code i + 16 its high nibble.
std::array<int, kBlock> nibble_halves(const std::byte* bytes) noexcept {
  std::array<int, kBlock> codes{};
  for (std::size_t i = 0; i < kHalf; ++i) {
    const int pair = byte_at(bytes, static_cast<int>(i));
    codes[i] = pair & 15;
    codes[i + kHalf] = pair >> 4;
  }
  return codes;
}

// Code i is `bits` bits of byte i, from bit `shift` on.
int bits_of(const std::byte* bytes, int i, int shift, int bits) noexcept {
  return (byte_at(bytes, i) >> shift) & ((1 << bits) - 1);
}

void set_codes(QuantisedBlock& block, const std::array<int, kBlock>& codes, int offset) noexcept {
  for (std::size_t i = 0; i < kBlock; ++i) {
    block.codes[i] = static_cast<std::int8_t>(codes[i] - offset);
  }
}

// ------------------------------------------------------------------------- blocks of 32 columns
QuantisedBlock unpack_q8_0(const std::byte* at) noexcept {
  QuantisedBlock block;
  set_scale(block, half_at(at));
  std::memcpy(block.codes.data(), at + 2, kBlock);
  return block;
}

// Codes are doubled E2M1 values, so the scale is half of what is stored: 2^(code − 128). Code 255
// continues the sequence here, though UE8M0 elsewhere calls it NaN.
QuantisedBlock unpack_mxfp4(const std::byte* at) noexcept {
  constexpr std::array<std::int8_t, 16> kDoubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                    0, -1, -2, -3, -4, -6, -8, -12};
  QuantisedBlock block;
  const auto code = static_cast<std::uint32_t>(byte_at(at));
  set_scale(block, std::bit_cast<float>(code < 2 ? 0x00200000U << code : (code - 1) << 23));
  const auto codes = nibble_halves(at + 1);
  for (std::size_t i = 0; i < kBlock; ++i) {
    block.codes[i] = kDoubled[static_cast<std::size_t>(codes[i])];
  }
  return block;
}

QuantisedBlock unpack_q4_0(const std::byte* at) noexcept {
  QuantisedBlock block;
  set_scale(block, half_at(at));
  set_codes(block, nibble_halves(at + 2), 8);
  return block;
}

// The half that is added is the negative of a minimum that is taken off.
QuantisedBlock unpack_q4_1(const std::byte* at) noexcept {
  QuantisedBlock block;
  set_scale(block, half_at(at));
  set_minimum(block, -half_at(at + 2));
  set_codes(block, nibble_halves(at + 4), 0);
  return block;
}

// A fifth bit for each code, in order.
std::array<int, kBlock> five_bits(const std::byte* high, const std::byte* low) noexcept {
  const auto fifth = read<std::uint32_t>(high);
  auto codes = nibble_halves(low);
  for (std::size_t i = 0; i < kBlock; ++i) codes[i] |= static_cast<int>((fifth >> i) & 1U) << 4;
  return codes;
}

QuantisedBlock unpack_q5_0(const std::byte* at) noexcept {
  QuantisedBlock block;
  set_scale(block, half_at(at));
  set_codes(block, five_bits(at + 2, at + 6), 16);
  return block;
}

QuantisedBlock unpack_q5_1(const std::byte* at) noexcept {
  QuantisedBlock block;
  set_scale(block, half_at(at));
  set_minimum(block, -half_at(at + 2));
  set_codes(block, five_bits(at + 4, at + 8), 0);
  return block;
}

QuantisedBlock unpack_iq4_nl(const std::byte* at) noexcept {
  QuantisedBlock block;
  set_scale(block, half_at(at));
  const auto codes = nibble_halves(at + 2);
  for (std::size_t i = 0; i < kBlock; ++i) {
    block.codes[i] = kIq4Values[static_cast<std::size_t>(codes[i])];
  }
  return block;
}

// ------------------------------------------------------------ block b of 8 in blocks of 256
// columns scales [16]: low nibble scale, high nibble minimum | codes, two bits [64] | d, dmin
QuantisedBlock unpack_q2_k(const std::byte* at, int b) noexcept {
  const float d = half_at(at + 80), dmin = half_at(at + 82);
  QuantisedBlock block;
  for (std::size_t h = 0; h < 2; ++h) {
    const int packed = byte_at(at, 2 * b + static_cast<int>(h));
    block.scale[h] = d * static_cast<float>(packed & 15);
    block.minimum[h] = dmin * static_cast<float>(packed >> 4);
  }
  const std::byte* codes = at + 16 + b / 4 * kBlock;
  for (int i = 0; i < kBlock; ++i) {
    block.codes[static_cast<std::size_t>(i)] =
        static_cast<std::int8_t>(bits_of(codes, i, b % 4 * 2, 2));
  }
  return block;
}

// The scale of sixteen columns, six bits: four in the first eight bytes, two in the last four.
int scale_of_q3_k(const std::byte* packed, int index) noexcept {
  const int low = bits_of(packed, index % 8, index / 8 * 4, 4);
  const int high = bits_of(packed, 8 + index % 4, index / 4 * 2, 2);
  return (low | high << 4) - 32;
}

// high bits [32]: bit b of byte i | low bits, two each [64] | scales [12] | d
QuantisedBlock unpack_q3_k(const std::byte* at, int b) noexcept {
  const float d = half_at(at + 108);
  QuantisedBlock block;
  for (std::size_t h = 0; h < 2; ++h) {
    block.scale[h] = d * static_cast<float>(scale_of_q3_k(at + 96, 2 * b + static_cast<int>(h)));
  }
  const std::byte* low = at + 32 + b / 4 * kBlock;
  for (int i = 0; i < kBlock; ++i) {
    const int code = bits_of(low, i, b % 4 * 2, 2) | bits_of(at, i, b, 1) << 2;
    block.codes[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(code - 4);
  }
  return block;
}

// d, dmin | scales and minima of eight blocks, six bits each [12]. The first four have their six
// bits in a byte of their own; the last four take nibbles of the last bytes and the upper two bits
// that the first ones leave.
void set_scales_k(QuantisedBlock& block, const std::byte* at, int b) noexcept {
  const std::byte* packed = at + 4;
  int scale = 0, minimum = 0;
  if (b < 4) {
    scale = bits_of(packed, b, 0, 6);
    minimum = bits_of(packed, b + 4, 0, 6);
  } else {
    scale = bits_of(packed, b + 4, 0, 4) | bits_of(packed, b - 4, 6, 2) << 4;
    minimum = bits_of(packed, b + 4, 4, 4) | bits_of(packed, b, 6, 2) << 4;
  }
  set_scale(block, half_at(at) * static_cast<float>(scale));
  set_minimum(block, half_at(at + 2) * static_cast<float>(minimum));
}

// … | codes, four bits [128]
QuantisedBlock unpack_q4_k(const std::byte* at, int b) noexcept {
  QuantisedBlock block;
  set_scales_k(block, at, b);
  const std::byte* codes = at + 16 + b / 2 * kBlock;
  for (int i = 0; i < kBlock; ++i) {
    block.codes[static_cast<std::size_t>(i)] =
        static_cast<std::int8_t>(bits_of(codes, i, b % 2 * 4, 4));
  }
  return block;
}

// … | fifth bits [32]: bit b of byte i | low bits, four each [128]
QuantisedBlock unpack_q5_k(const std::byte* at, int b) noexcept {
  QuantisedBlock block;
  set_scales_k(block, at, b);
  const std::byte* low = at + 48 + b / 2 * kBlock;
  for (int i = 0; i < kBlock; ++i) {
    const int code = bits_of(low, i, b % 2 * 4, 4) | bits_of(at + 16, i, b, 1) << 4;
    block.codes[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(code);
  }
  return block;
}

// low bits, four each [128] | high bits, two each [64] | scales, int8 [16] | d
QuantisedBlock unpack_q6_k(const std::byte* at, int b) noexcept {
  const float d = half_at(at + 208);
  QuantisedBlock block;
  for (std::size_t h = 0; h < 2; ++h) {
    block.scale[h] =
        d * static_cast<float>(read<std::int8_t>(at + 192 + 2 * b + static_cast<int>(h)));
  }
  const std::byte* low = at + b / 4 * 64 + b % 2 * kBlock;
  const std::byte* high = at + 128 + b / 4 * kBlock;
  for (int i = 0; i < kBlock; ++i) {
    const int code = bits_of(low, i, b % 4 / 2 * 4, 4) | bits_of(high, i, b % 4 * 2, 2) << 4;
    block.codes[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(code - 32);
  }
  return block;
}

// d | upper two bits of the scales [2] | lower four [4] | codes [128]
QuantisedBlock unpack_iq4_xs(const std::byte* at, int b) noexcept {
  const int high = (read<std::uint16_t>(at + 2) >> (2 * b)) & 3;
  const int scale = (bits_of(at + 4, b / 2, b % 2 * 4, 4) | high << 4) - 32;
  QuantisedBlock block;
  set_scale(block, half_at(at) * static_cast<float>(scale));
  const auto codes = nibble_halves(at + 8 + b * kHalf);
  for (std::size_t i = 0; i < kBlock; ++i) {
    block.codes[i] = kIq4Values[static_cast<std::size_t>(codes[i])];
  }
  return block;
}

// Columns `first` and up get the magnitudes of a point, negative where their bit is set.
template <typename Point>
void set_point(QuantisedBlock& block, int first, Point point, unsigned signs) noexcept {
  for (unsigned k = 0; k < sizeof point; ++k) {
    const int magnitude = static_cast<int>((point >> (8 * k)) & 255U);
    const bool negative = ((signs >> k) & 1U) != 0;
    block.codes[static_cast<std::size_t>(first) + k] =
        static_cast<std::int8_t>(negative ? -magnitude : magnitude);
  }
}

// The scales of I-blocks are odd multiples: d · (2 · s + 1) · step.
float odd_scale(float d, unsigned s, float step) noexcept {
  return d * static_cast<float>(2 * s + 1) * step;
}

// d | for each block four points, a byte each, then four times seven bits of signs and the scale
QuantisedBlock unpack_iq2_xxs(const std::byte* at, int b) noexcept {
  const std::byte* points = at + 2 + 8 * b;
  const auto packed = read<std::uint32_t>(points + 4);
  QuantisedBlock block;
  set_scale(block, odd_scale(half_at(at), packed >> 28, 0.125F));
  for (int k = 0; k < 4; ++k) {
    set_point(block, 8 * k, kIq2XxsPoints[static_cast<std::size_t>(byte_at(points, k))],
              signs_of((packed >> (7 * k)) & 127U));
  }
  return block;
}

// d | for each block four points, nine bits and seven of signs [64] | scales, four bits [8]
QuantisedBlock unpack_iq2_xs(const std::byte* at, int b) noexcept {
  const int scales = byte_at(at, 66 + b);
  QuantisedBlock block;
  block.scale = {odd_scale(half_at(at), static_cast<unsigned>(scales & 15), 0.125F),
                 odd_scale(half_at(at), static_cast<unsigned>(scales >> 4), 0.125F)};
  for (int k = 0; k < 4; ++k) {
    const unsigned packed = read<std::uint16_t>(at + 2 + 8 * b + 2 * k);
    set_point(block, 8 * k, kIq2XsPoints[packed & 511U], signs_of(packed >> 9));
  }
  return block;
}

// d | points of four columns, a byte each [64] | for each block four times seven bits of signs, for
// eight columns each, and the scale
QuantisedBlock unpack_iq3_xxs(const std::byte* at, int b) noexcept {
  const std::byte* points = at + 2 + 8 * b;
  const auto packed = read<std::uint32_t>(at + 66 + 4 * b);
  QuantisedBlock block;
  set_scale(block, odd_scale(half_at(at), packed >> 28, 0.25F));
  for (int k = 0; k < 8; ++k) {
    const unsigned signs = signs_of((packed >> (k / 2 * 7)) & 127U);
    set_point(block, 4 * k, kIq3XxsPoints[static_cast<std::size_t>(byte_at(points, k))],
              signs >> (k % 2 * 4));
  }
  return block;
}

}  // namespace

bool is_quantised(Format format) noexcept {
  return format == Format::q8_0 || format == Format::mxfp4 || format > Format::i64;
}

QuantisedBlock unpack_block(Format format, const std::byte* row, std::int64_t block) noexcept {
  const FormatLayout& layout = layout_of(format);
  const int blocks = layout.entries / kBlock;
  const std::byte* at = row + block / blocks * layout.bytes;
  const auto b = static_cast<int>(block % blocks);
  switch (format) {
    case Format::q8_0:
      return unpack_q8_0(at);
    case Format::mxfp4:
      return unpack_mxfp4(at);
    case Format::q4_0:
      return unpack_q4_0(at);
    case Format::q4_1:
      return unpack_q4_1(at);
    case Format::q5_0:
      return unpack_q5_0(at);
    case Format::q5_1:
      return unpack_q5_1(at);
    case Format::q2_k:
      return unpack_q2_k(at, b);
    case Format::q3_k:
      return unpack_q3_k(at, b);
    case Format::q4_k:
      return unpack_q4_k(at, b);
    case Format::q5_k:
      return unpack_q5_k(at, b);
    case Format::q6_k:
      return unpack_q6_k(at, b);
    case Format::iq2_xxs:
      return unpack_iq2_xxs(at, b);
    case Format::iq2_xs:
      return unpack_iq2_xs(at, b);
    case Format::iq3_xxs:
      return unpack_iq3_xxs(at, b);
    case Format::iq4_nl:
      return unpack_iq4_nl(at);
    case Format::iq4_xs:
      return unpack_iq4_xs(at, b);
    default:
      assert(false && "not a quantised format");
      return {};
  }
}

void dequantize_block(const QuantisedBlock& block, float* out) noexcept {
  for (std::size_t i = 0; i < kBlock; ++i) {
    const float product = block.scale[i / kHalf] * static_cast<float>(block.codes[i]);
    out[i] = product - block.minimum[i / kHalf];
  }
}

HalfPlaces half_places(Format format) noexcept {
  switch (format) {
    case Format::q4_1:
    case Format::q5_1:
    case Format::q4_k:
    case Format::q5_k:
      return {0, 2};
    case Format::q2_k:
      return {80, 82};
    case Format::q3_k:
      return {108, -1};
    case Format::q6_k:
      return {208, -1};
    case Format::mxfp4:
      return {-1, -1};
    default:
      assert(is_quantised(format));
      return {0, -1};
  }
}

}  // namespace fathom::engine
