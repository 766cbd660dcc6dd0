// Rounding of activations, entry by entry: the definition.
#include "engine/cpu/rounded.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/cpu/products.h"
#include "engine/weights/formats.h"
#include "engine/weights/quantised_block.h"

namespace fathom::engine::cpu {
namespace {

Int8Block round_block(const float* x) noexcept {
  Int8Block block{};
  float largest = 0;
  for (int i = 0; i < kBlock; ++i) {
    if (!std::isfinite(x[i])) {
      block.scale = std::numeric_limits<float>::quiet_NaN();
      return block;
    }
    largest = std::max(largest, std::abs(x[i]));
  }
  block.scale = largest / 127;
  const float factor = largest > kSmallestMagnitude ? 127 / largest : 0;
  for (int i = 0; i < kBlock; ++i) {
    block.values[i] = static_cast<std::int8_t>(std::nearbyint(x[i] * factor));
    block.offset -= 128 * block.values[i];
    if (i < kBlock / 2) block.first_offset = block.offset;
  }
  return block;
}

}  // namespace

ActivationForm integer_form(Format weights) noexcept {
  const bool integers = is_quantised(weights) || weights == Format::fp4;
  return integers ? ActivationForm::int8 : ActivationForm::f32;
}

ActivationForm integer_or_bf16_form(Format weights) noexcept {
  const bool in_bf16 = weights == Format::bf16 || weights == Format::fp8;
  return in_bf16 ? ActivationForm::bf16 : integer_form(weights);
}

void plain_round(ActivationForm form, const float* x, std::int64_t columns,
                 std::byte* rounded) noexcept {
  assert(form != ActivationForm::f32);
  if (form == ActivationForm::int8) {
    assert(columns % kBlock == 0);
    for (std::int64_t c = 0; c < columns; c += kBlock, rounded += sizeof(Int8Block)) {
      const Int8Block block = round_block(x + c);
      std::memcpy(rounded, &block, sizeof block);
    }
    return;
  }
  for (std::int64_t c = 0; c < (columns + kBlock - 1) / kBlock * kBlock; ++c) {
    const std::uint16_t bits = c < columns ? f32_to_bf16(x[c]) : std::uint16_t{0};
    std::memcpy(rounded + 2 * c, &bits, sizeof bits);
  }
}

void rounded_to_f32(ActivationForm form, const std::byte* rounded, std::int64_t columns,
                    float* x) noexcept {
  assert(form != ActivationForm::f32);
  for (std::int64_t c = 0; c < columns; ++c) {
    if (form == ActivationForm::int8) {
      Int8Block block;
      std::memcpy(&block, rounded + rounded_offset(form, c / kBlock * kBlock), sizeof block);
      x[c] = static_cast<float>(block.values[c % kBlock]) * block.scale;
    } else {
      std::uint16_t bits = 0;
      std::memcpy(&bits, rounded + 2 * c, sizeof bits);
      x[c] = bf16_to_f32(bits);
    }
  }
}

}  // namespace fathom::engine::cpu
