// Products of BF16 and FP8 weights with bf16 activations in AVX-512 BF16: two products a lane and
// instruction.
//
// A dot product has one accumulator of sixteen lanes, each for two columns of every 32, which walks
// the columns upwards, and one final tree over the lanes:
//
//   bf16   sum = sum + w[c] · x[c] + w[c + 1] · x[c + 1]
//   fp8    the same over each 128 columns, then sum = fma(that, scale of the 128, sum)
//
// BF16 weights go from memory into the instruction, so nothing is unpacked or transposed. E4M3
// values are bf16 values too: FP8 weights lose nothing. The instruction rounds to nearest and takes
// subnormal numbers as 0.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/products.h"
#include "engine/cpu/tiles.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

using Floats = __m512;

#include "engine/cpu/avx512_fp8.h"

constexpr int kTileRows = 4;
constexpr int kTileTokens = 6;   // x 4 rows: 24 sums of 32 registers
constexpr int kFusedTokens = 2;  // FP8: more pay for unpacking to scratch
constexpr int kScaleBlocks = kFp8Block / kBlock;

// A row of weights, either as stored or, FP8 for many tokens, unpacked to bf16 in scratch.
struct Row {
  const std::byte* data;
  const std::byte* scales;  // FP8: a code each 128 columns
};

VECTOR_FUNCTION Row row_of(const Tensor& weights, std::int64_t row) noexcept {
  return {weights.data + row * weights.row_bytes,
          weights.format == Format::fp8 ? weights.scales + row / kFp8Block * weights.scale_row_bytes
                                        : nullptr};
}

// The row's 32 columns of a block, of which the first `columns` exist.
template <bool packed>
VECTOR_FUNCTION Pairs load_block(const Row& row, int block, std::int64_t columns) noexcept {
  constexpr int kBytes = packed ? 1 : 2;
  const std::byte* at = row.data + std::int64_t{block} * kBlock * kBytes;
  if (columns >= kBlock) {
    if constexpr (packed) return fp8_to_bf16(at);
    return _mm512_loadu_si512(at);
  }
  alignas(64) std::byte rest[kBlock * kBytes] = {};
  std::memcpy(rest, at, static_cast<std::size_t>(columns * kBytes));
  if constexpr (packed) return fp8_to_bf16(rest);
  return _mm512_load_si512(rest);
}

VECTOR_FUNCTION Floats dot(Floats sum, Pairs weights, Pairs x) noexcept {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(weights), reinterpret_cast<__m512bh>(x));
}

// Lanes i, i + 4, i + 8 and i + 12 of x.
VECTOR_FUNCTION __m128 folded(Floats x) noexcept {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// The lanes' sum of each.
VECTOR_FUNCTION __m128 sums_of(Floats a, Floats b, Floats c, Floats d) noexcept {
  return _mm_hadd_ps(_mm_hadd_ps(folded(a), folded(b)), _mm_hadd_ps(folded(c), folded(d)));
}

// y[t · y_stride + r] = w[r] · x[t] for kTileRows rows, of which the first `count` are stored.
template <bool scaled, bool packed, int tokens>
VECTOR_FUNCTION void multiply_tile(const Row* rows, const std::byte* const* x, std::int64_t columns,
                                   float* y, std::int64_t y_stride, int count) noexcept {
  Floats sum[tokens][kTileRows];
  Floats part[tokens][kTileRows];
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) {
#pragma GCC unroll 4
    for (int r = 0; r < kTileRows; ++r) sum[t][r] = part[t][r] = _mm512_setzero_ps();
  }
  const auto blocks = static_cast<int>((columns + kBlock - 1) / kBlock);
  for (int block = 0; block < blocks; ++block) {
    Pairs xs[tokens];
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) xs[t] = _mm512_loadu_si512(x[t] + block * kBlock * 2);
#pragma GCC unroll 4
    for (int r = 0; r < kTileRows; ++r) {
      const Pairs weights = load_block<packed>(rows[r], block, columns - block * kBlock);
#pragma GCC unroll 8
      for (int t = 0; t < tokens; ++t) part[t][r] = dot(part[t][r], weights, xs[t]);
    }
    if (!scaled || ((block + 1) % kScaleBlocks != 0 && block + 1 != blocks)) continue;
#pragma GCC unroll 4
    for (int r = 0; r < kTileRows; ++r) {
      const Floats scale = _mm512_set1_ps(
          ue8m0_to_f32(std::to_integer<std::uint8_t>(rows[r].scales[block / kScaleBlocks])));
#pragma GCC unroll 8
      for (int t = 0; t < tokens; ++t) {
        sum[t][r] = _mm512_fmadd_ps(part[t][r], scale, sum[t][r]);
        part[t][r] = _mm512_setzero_ps();
      }
    }
  }
  const auto stored = static_cast<__mmask8>((1U << count) - 1);
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) {
    const auto& all = scaled ? sum[t] : part[t];
    _mm_mask_storeu_ps(y + t * y_stride, stored, sums_of(all[0], all[1], all[2], all[3]));
  }
}

using Tile = void (*)(const Row*, const std::byte* const*, std::int64_t, float*, std::int64_t,
                      int) noexcept;

// kTileRows rows times all tokens, in groups of nearly the same size.
template <bool scaled, bool packed>
VECTOR_FUNCTION void multiply_tokens(const MultiplyTask& task, const Row* rows, int row) noexcept {
  static constexpr Tile kTiles[] = {
      multiply_tile<scaled, packed, 1>, multiply_tile<scaled, packed, 2>,
      multiply_tile<scaled, packed, 3>, multiply_tile<scaled, packed, 4>,
      multiply_tile<scaled, packed, 5>, multiply_tile<scaled, packed, kTileTokens>};
  const int count = std::min(kTileRows, task.rows - row);
  int first = 0;
  for (int groups = (task.tokens + kTileTokens - 1) / kTileTokens; groups > 0; --groups) {
    const int tokens = (task.tokens - first + groups - 1) / groups;
    kTiles[tokens - 1](rows, task.rounded + first, task.weights->columns,
                       task.y + first * task.y_stride + row, task.y_stride, count);
    first += tokens;
  }
}

// Rows [row, row + kTileRows) of the task; those after the last repeat it.
VECTOR_FUNCTION void find_rows(const MultiplyTask& task, int row, Row* rows) noexcept {
  for (int r = 0; r < kTileRows; ++r) {
    rows[r] = row_of(*task.weights, task.first_row + std::min(row + r, task.rows - 1));
  }
}

// FP8 rows to bf16, still without their scales.
VECTOR_FUNCTION void unpack_rows(const MultiplyTask& task, Row* rows) noexcept {
  const std::int64_t columns = task.weights->columns;
  const auto blocks = static_cast<int>((columns + kBlock - 1) / kBlock);
  auto* unpacked = reinterpret_cast<std::byte*>(task.scratch);
  for (int r = 0; r < kTileRows; ++r, unpacked += std::int64_t{blocks} * kBlock * 2) {
    for (int block = 0; block < blocks; ++block) {
      _mm512_storeu_si512(unpacked + std::int64_t{block} * kBlock * 2,
                          load_block<true>(rows[r], block, columns - block * kBlock));
    }
    rows[r].data = unpacked;
  }
}

VECTOR_FUNCTION void multiply_fp8(const MultiplyTask& task) noexcept {
  for (int row = 0; row < task.rows; row += kTileRows) {
    Row rows[kTileRows];
    find_rows(task, row, rows);
    if (task.tokens <= kFusedTokens) {
      multiply_tokens</*scaled=*/true, /*packed=*/true>(task, rows, row);
    } else {
      unpack_rows(task, rows);
      multiply_tokens</*scaled=*/true, /*packed=*/false>(task, rows, row);
    }
  }
}

VECTOR_FUNCTION void multiply_bf16(const MultiplyTask& task) noexcept {
  for (int row = 0; row < task.rows; row += kTileRows) {
    Row rows[kTileRows];
    find_rows(task, row, rows);
    multiply_tokens</*scaled=*/false, /*packed=*/false>(task, rows, row);
  }
}

}  // namespace

VECTOR_TARGET void multiply_bf16_avx512(const MultiplyTask& task) noexcept {
  if (task.weights->format == Format::fp8) return multiply_fp8(task);
  multiply_bf16(task);
}

}  // namespace fathom::engine::cpu
