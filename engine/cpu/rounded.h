// Activations rounded for products with narrow weights: what a kernel set may multiply instead of
// f32, and how it lies in memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/weights/tensor.h"

namespace fathom::engine::cpu {

//   f32   the activations themselves
//   int8  blocks of 32 columns, value = scale · integer: for weights that are small integers times
//         a scale per block. An error of at most 1/254 of the block's largest magnitude.
//   bf16  the upper half of an f32, ties to even: for weights that bf16 holds exactly
enum class ActivationForm { f32, int8, bf16 };

// The factor scales the block so that its largest magnitude becomes 127. One scale a block and not
// a row: an outlier then costs its neighbours their precision, and nobody else.
struct Int8Block {
  std::int8_t values[kBlock];
  float scale;                // largest magnitude / 127; NaN if an entry is NaN or infinite
  std::int32_t offset;        // −128 · Σ values: undoes weights that are stored as value + 128
  std::int32_t first_offset;  // the same over the first 16 values: some formats scale them apart
};
static_assert(sizeof(Int8Block) == kBlock + 12);

// Below this a block counts as zero: 127 / magnitude would leave the range of f32.
inline constexpr float kSmallestMagnitude = 1e-30F;

// Bytes of a row; rows are padded so that the next one starts a cache line.
constexpr std::int64_t rounded_bytes(ActivationForm form, std::int64_t columns) noexcept {
  const std::int64_t blocks = (columns + kBlock - 1) / kBlock;
  const std::int64_t bytes =
      form == ActivationForm::int8 ? blocks * std::int64_t{sizeof(Int8Block)} : blocks * kBlock * 2;
  return (bytes + 63) / 64 * 64;
}

// Where column `column`, a multiple of 32, begins.
constexpr std::int64_t rounded_offset(ActivationForm form, std::int64_t column) noexcept {
  return form == ActivationForm::int8 ? column / kBlock * std::int64_t{sizeof(Int8Block)}
                                      : column * 2;
}

// Writes `columns` activations in a form that is not f32: int8 takes whole blocks, bf16 fills its
// last block up with zeros. The plain definition; kernel sets give the same bits.
void plain_round(ActivationForm form, const float* x, std::int64_t columns,
                 std::byte* rounded) noexcept;

// The values that a rounded row stands for.
void rounded_to_f32(ActivationForm form, const std::byte* rounded, std::int64_t columns,
                    float* x) noexcept;

}  // namespace fathom::engine::cpu
