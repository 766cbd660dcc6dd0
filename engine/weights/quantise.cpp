// Finds scales and packs integers, format by format.
//
// A scale that maps the largest entry to the largest integer is not the best one: a few large
// entries may be rounded badly if the many others gain. So scales around it are tried. For each,
// the integers are rounded, and then the scale that fits those integers best follows in closed
// form:
//
//   Σ (x − d · q)² is least at d = Σ x · q / Σ q²,  and then equals Σ x² − d · Σ x · q
//
// With a minimum it is a line through the points (q, x). Scales of a group are then rounded
// themselves, and the integers are rounded once more with the scales as stored.
#include "engine/weights/quantise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include "engine/weights/formats.h"

namespace fathom::engine {
namespace {

using Group = std::span<const float>;
using Codes = std::span<int>;

constexpr int kHalf = kBlock / 2;

void put_half(std::byte* at, float value) noexcept {
  const std::uint16_t bits = f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

// What the format will read back.
float as_half(float value) noexcept {
  return f16_to_f32(f32_to_f16(value));
}

void put_bits(std::byte* bytes, std::size_t i, int shift, int value) noexcept {
  bytes[i] |= static_cast<std::byte>(value << shift);
}

int round_to(float value, int least, int most) noexcept {
  return static_cast<int>(
      std::lrint(std::clamp(value, static_cast<float>(least), static_cast<float>(most))));
}

float divide(float a, float b) noexcept {
  return b == 0 ? 0 : a / b;
}

// codes = x / scale, rounded
void round_codes(Group x, float scale, float minimum, int least, int most, Codes codes) noexcept {
  const float factor = divide(1, scale);
  for (std::size_t i = 0; i < x.size(); ++i) {
    codes[i] = round_to((x[i] + minimum) * factor, least, most);
  }
}

// Steps by which candidates for a scale differ, in hundredths of the largest integer.
constexpr int kCandidates = 10;
constexpr float kCandidateStep = 0.02F;

// The scale of x ≈ scale · q. The entry of largest size may take the end that is one longer, so the
// scale may be negative.
float fit_scale(Group x, int least, int most) noexcept {
  const float peak =
      *std::ranges::max_element(x, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  if (peak == 0) return 0;
  double best_gain = -1;
  float best = 0;
  for (int candidate = -kCandidates; candidate <= kCandidates; ++candidate) {
    const float factor =
        static_cast<float>(least) * (1 + kCandidateStep * static_cast<float>(candidate)) / peak;
    double xq = 0, qq = 0;
    for (const float value : x) {
      const int q = round_to(value * factor, least, most);
      xq += static_cast<double>(value) * q;
      qq += static_cast<double>(q) * q;
    }
    const double gain = qq > 0 ? xq * xq / qq : 0;
    if (gain <= best_gain) continue;
    best_gain = gain;
    best = qq > 0 ? static_cast<float>(xq / qq) : 0;
  }
  return best;
}

struct Line {
  float scale = 0;
  float minimum = 0;  // what is taken off
};

// The line x ≈ scale · q + offset that fits codes best, and the sum of squared errors it leaves.
struct Fit {
  double scale = 0;
  double offset = 0;
  double error = 0;
};

Fit fit_line(Group x, float factor, float low, int most, bool through_negative) noexcept {
  double n = 0, sx = 0, sq = 0, sxq = 0, sqq = 0, sxx = 0;
  for (const float value : x) {
    const double q = round_to((value - low) * factor, 0, most), v = value;
    n += 1;
    sx += v;
    sq += q;
    sxq += v * q;
    sqq += q * q;
    sxx += v * v;
  }
  const double determinant = n * sqq - sq * sq;
  Fit fit;
  if (determinant > 0) {
    fit.scale = (n * sxq - sx * sq) / determinant;
    fit.offset = (sqq * sx - sq * sxq) / determinant;
  }
  if (determinant <= 0 || (through_negative && fit.offset > 0)) {
    fit.offset = through_negative ? 0 : sx / n;
    fit.scale = through_negative && sqq > 0 ? sxq / sqq : 0;
  }
  fit.error = sxx + fit.scale * fit.scale * sqq + n * fit.offset * fit.offset -
              2 * fit.scale * sxq - 2 * fit.offset * sx + 2 * fit.scale * fit.offset * sq;
  return fit;
}

// The line x ≈ scale · q − minimum, 0 ≤ q ≤ most. K-formats store minima that are not negative.
Line fit_scale_and_minimum(Group x, int most, bool minimum_not_negative) noexcept {
  auto [low, high] = std::ranges::minmax(x);
  if (minimum_not_negative) {
    low = std::min(low, 0.0F);
    high = std::max(high, 0.0F);
  }
  if (low == high) return {.scale = 0, .minimum = -low};
  Fit best;
  bool found = false;
  for (int candidate = -kCandidates; candidate <= kCandidates; ++candidate) {
    const float steps =
        static_cast<float>(most) * (1 + kCandidateStep * static_cast<float>(candidate));
    const Fit fit = fit_line(x, steps / (high - low), low, most, minimum_not_negative);
    if (found && fit.error >= best.error) continue;
    best = fit;
    found = true;
  }
  return {.scale = static_cast<float>(best.scale), .minimum = static_cast<float>(-best.offset)};
}

// ------------------------------------------------------------------------- blocks of 32 columns
// The largest power of two that all entries are whole multiples of, if then none is beyond 127.
float lossless_scale(Group x, float largest) noexcept {
  int lowest = 0;
  bool found = false;
  for (const float value : x) {
    if (value == 0) continue;
    int exponent = 0;
    const auto fraction = static_cast<std::int64_t>(std::ldexp(std::frexp(value, &exponent), 24));
    const int bit =
        std::countr_zero(static_cast<std::uint64_t>(std::abs(fraction))) + exponent - 24;
    lowest = found ? std::min(lowest, bit) : bit;
    found = true;
  }
  const float scale = found ? std::ldexp(1.0F, lowest) : 0;
  const bool fits = largest <= 127 * scale && as_half(scale) == scale;
  return fits ? scale : 0;
}

void quantise_q8_0(Group x, std::byte* at) noexcept {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  float scale = lossless_scale(x, largest);
  if (scale == 0) scale = as_half(largest / 127);
  put_half(at, scale);
  std::array<int, kBlock> codes{};
  round_codes(x, scale, 0, -127, 127, codes);
  for (std::size_t i = 0; i < kBlock; ++i) at[2 + i] = static_cast<std::byte>(codes[i]);
}

void put_nibble_halves(const std::array<int, kBlock>& codes, std::byte* at) noexcept {
  for (std::size_t i = 0; i < kBlock; ++i) {
    put_bits(at, i % kHalf, i < kHalf ? 0 : 4, codes[i] & 15);
  }
}

// Q4_0 and Q5_0: codes are stored with `offset` added; a fifth bit lies before the others.
void quantise_symmetric(Group x, int offset, std::byte* at) noexcept {
  const float scale = as_half(fit_scale(x, -offset, offset - 1));
  std::array<int, kBlock> codes{};
  round_codes(x, scale, 0, -offset, offset - 1, codes);
  put_half(at, scale);
  std::byte* low = at + 2;
  if (offset == 16) low += 4;
  for (std::size_t i = 0; i < kBlock; ++i) {
    codes[i] += offset;
    if (offset == 16) put_bits(at + 2, i / 8, static_cast<int>(i % 8), codes[i] >> 4);
  }
  put_nibble_halves(codes, low);
}

// Q4_1 and Q5_1
void quantise_affine(Group x, int most, std::byte* at) noexcept {
  const Line line = fit_scale_and_minimum(x, most, /*minimum_not_negative=*/false);
  const float scale = as_half(line.scale), minimum = as_half(line.minimum);
  std::array<int, kBlock> codes{};
  round_codes(x, scale, minimum, 0, most, codes);
  put_half(at, scale);
  put_half(at + 2, -minimum);
  std::byte* low = at + 4;
  if (most == 31) {
    for (std::size_t i = 0; i < kBlock; ++i) {
      put_bits(at + 4, i / 8, static_cast<int>(i % 8), codes[i] >> 4);
    }
    low += 4;
  }
  put_nibble_halves(codes, low);
}

double mxfp4_error(Group x, int exponent) noexcept {
  double error = 0;
  for (const float value : x) {
    const float scaled = std::ldexp(value, -exponent);
    const double miss = static_cast<double>(scaled) - e2m1_to_f32(f32_to_e2m1(scaled));
    error += miss * miss;
  }
  return std::ldexp(error, 2 * exponent);
}

// The scale that reaches the largest entry, or the next smaller one, which cuts it off at 6.
void quantise_mxfp4(Group x, std::byte* at) noexcept {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  int exponent = 0;
  const float fraction = std::frexp(largest / 6, &exponent);
  if (largest == 0) exponent = -127;
  if (fraction == 0.5F) --exponent;
  exponent = std::clamp(exponent, -127, 127);
  if (exponent > -127 && mxfp4_error(x, exponent - 1) < mxfp4_error(x, exponent)) --exponent;
  at[0] = static_cast<std::byte>(exponent + 127);
  std::array<int, kBlock> codes{};
  for (std::size_t i = 0; i < kBlock; ++i) codes[i] = f32_to_e2m1(std::ldexp(x[i], -exponent));
  put_nibble_halves(codes, at + 1);
}

// ------------------------------------------------------------------------ blocks of 256 columns
// Rounds the scales of groups to integers times one half: returns the half.
template <std::size_t groups>
float round_scales(const std::array<float, groups>& scales, int least, int most,
                   std::array<int, groups>& rounded) noexcept {
  const float peak = *std::ranges::max_element(
      scales, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  // The end that is farther from zero, so that nothing is cut off.
  const float unit = as_half(peak / static_cast<float>(least < 0 ? least : most));
  for (std::size_t g = 0; g < groups; ++g) {
    rounded[g] = round_to(divide(scales[g], unit), least, most);
  }
  return unit;
}

// All 256 codes with scales that are stored: x ≈ d · scale · q − dmin · minimum.
template <std::size_t groups>
struct SuperBlock {
  float d = 0, dmin = 0;
  std::array<int, groups> scale{}, minimum{};
  std::array<int, kSuperBlock> codes{};

  void round(Group x, int least, int most) noexcept {
    constexpr std::size_t kWidth = kSuperBlock / groups;
    for (std::size_t g = 0; g < groups; ++g) {
      round_codes(x.subspan(g * kWidth, kWidth), d * static_cast<float>(scale[g]),
                  dmin * static_cast<float>(minimum[g]), least, most,
                  Codes(codes).subspan(g * kWidth, kWidth));
    }
  }
};

// Q2_K, Q4_K, Q5_K: codes from 0 to `most`, scales and minima from 0 to `scale_most`.
template <std::size_t groups>
SuperBlock<groups> fit_affine(Group x, int most, int scale_most) noexcept {
  constexpr std::size_t kWidth = kSuperBlock / groups;
  std::array<float, groups> scales{}, minima{};
  for (std::size_t g = 0; g < groups; ++g) {
    const Line line = fit_scale_and_minimum(x.subspan(g * kWidth, kWidth), most,
                                            /*minimum_not_negative=*/true);
    scales[g] = line.scale;
    minima[g] = line.minimum;
  }
  SuperBlock<groups> block;
  block.d = round_scales(scales, 0, scale_most, block.scale);
  block.dmin = round_scales(minima, 0, scale_most, block.minimum);
  block.round(x, 0, most);
  return block;
}

// Q3_K, Q6_K: codes and scales of either sign.
SuperBlock<16> fit_symmetric(Group x, int least, int scale_least) noexcept {
  constexpr std::size_t kWidth = kSuperBlock / 16;
  std::array<float, 16> scales{};
  for (std::size_t g = 0; g < 16; ++g) {
    scales[g] = fit_scale(x.subspan(g * kWidth, kWidth), least, -least - 1);
  }
  SuperBlock<16> block;
  block.d = round_scales(scales, scale_least, -scale_least - 1, block.scale);
  block.round(x, least, -least - 1);
  return block;
}

// `bits` bits of every code, from bit `from` on: codes `width` apart share a byte of the plane, as
// many as fit, the first in the lowest bits; then the next `width` bytes follow.
void put_plane(const std::array<int, kSuperBlock>& codes, int from, int bits, std::size_t width,
               std::byte* at) noexcept {
  const std::size_t columns = width * 8 / static_cast<std::size_t>(bits);  // that share bytes
  for (std::size_t i = 0; i < kSuperBlock; ++i) {
    const std::size_t byte = i / columns * width + i % width;
    const int shift = static_cast<int>(i % columns / width) * bits;
    put_bits(at, byte, shift, (codes[i] >> from) & ((1 << bits) - 1));
  }
}

void quantise_q2_k(Group x, std::byte* at) noexcept {
  const auto block = fit_affine<16>(x, 3, 15);
  for (std::size_t g = 0; g < 16; ++g) {
    put_bits(at, g, 0, block.scale[g] | block.minimum[g] << 4);
  }
  put_plane(block.codes, 0, 2, 32, at + 16);
  put_half(at + 80, block.d);
  put_half(at + 82, block.dmin);
}

void quantise_q3_k(Group x, std::byte* at) noexcept {
  auto block = fit_symmetric(x, -4, -32);
  for (int& code : block.codes) code += 4;
  put_plane(block.codes, 2, 1, 32, at);
  put_plane(block.codes, 0, 2, 32, at + 32);
  for (std::size_t g = 0; g < 16; ++g) {
    const int scale = block.scale[g] + 32;
    put_bits(at + 96, g % 8, g < 8 ? 0 : 4, scale & 15);
    put_bits(at + 104, g % 4, static_cast<int>(g / 4) * 2, scale >> 4);
  }
  put_half(at + 108, block.d);
}

// Scales and minima, six bits each, as set_scales_k() in quantised_block.cpp reads them.
void put_scales_k(const SuperBlock<8>& block, std::byte* at) noexcept {
  put_half(at, block.d);
  put_half(at + 2, block.dmin);
  std::byte* packed = at + 4;
  for (std::size_t g = 0; g < 4; ++g) {
    put_bits(packed, g, 0, block.scale[g]);
    put_bits(packed, g + 4, 0, block.minimum[g]);
    put_bits(packed, g, 6, block.scale[g + 4] >> 4);
    put_bits(packed, g + 4, 6, block.minimum[g + 4] >> 4);
    put_bits(packed, g + 8, 0, block.scale[g + 4] & 15);
    put_bits(packed, g + 8, 4, block.minimum[g + 4] & 15);
  }
}

void quantise_q4_k(Group x, std::byte* at) noexcept {
  const auto block = fit_affine<8>(x, 15, 63);
  put_scales_k(block, at);
  put_plane(block.codes, 0, 4, 32, at + 16);
}

void quantise_q5_k(Group x, std::byte* at) noexcept {
  const auto block = fit_affine<8>(x, 31, 63);
  put_scales_k(block, at);
  put_plane(block.codes, 4, 1, 32, at + 16);
  put_plane(block.codes, 0, 4, 32, at + 48);
}

void quantise_q6_k(Group x, std::byte* at) noexcept {
  auto block = fit_symmetric(x, -32, -128);
  for (int& code : block.codes) code += 32;
  put_plane(block.codes, 0, 4, 64, at);
  put_plane(block.codes, 4, 2, 32, at + 128);
  for (std::size_t g = 0; g < 16; ++g) at[192 + g] = static_cast<std::byte>(block.scale[g]);
  put_half(at + 208, block.d);
}

void quantise_block(Format format, Group x, std::byte* at) noexcept {
  switch (format) {
    case Format::q8_0:
      return quantise_q8_0(x, at);
    case Format::mxfp4:
      return quantise_mxfp4(x, at);
    case Format::q4_0:
      return quantise_symmetric(x, 8, at);
    case Format::q5_0:
      return quantise_symmetric(x, 16, at);
    case Format::q4_1:
      return quantise_affine(x, 15, at);
    case Format::q5_1:
      return quantise_affine(x, 31, at);
    case Format::q2_k:
      return quantise_q2_k(x, at);
    case Format::q3_k:
      return quantise_q3_k(x, at);
    case Format::q4_k:
      return quantise_q4_k(x, at);
    case Format::q5_k:
      return quantise_q5_k(x, at);
    case Format::q6_k:
      return quantise_q6_k(x, at);
    default:
      assert(false && "a format that can_quantise() names");
  }
}

}  // namespace

bool can_quantise(Format format) noexcept {
  switch (format) {
    case Format::f32:
    case Format::f16:
    case Format::bf16:
    case Format::q8_0:
    case Format::mxfp4:
      return true;
    default:
      return format >= Format::q4_0 && format <= Format::q6_k;
  }
}

void quantise_row(Format format, std::span<const float> values, std::byte* row) noexcept {
  assert(can_quantise(format));
  const FormatLayout& layout = layout_of(format);
  const auto entries = static_cast<std::size_t>(layout.entries);
  assert(values.size() % entries == 0);
  std::fill_n(row, bytes_of(format, std::ssize(values)), std::byte{0});
  for (std::size_t begin = 0; begin < values.size(); begin += entries, row += layout.bytes) {
    const float value = values[begin];
    std::uint16_t bits = 0;
    if (format == Format::f32) {
      std::memcpy(row, &value, sizeof value);
    } else if (format == Format::f16 || format == Format::bf16) {
      bits = format == Format::f16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(row, &bits, sizeof bits);
    } else {
      quantise_block(format, values.subspan(begin, entries), row);
    }
  }
}

}  // namespace fathom::engine
