// Products of the formats of quantised_block.h, beyond Q8_0 and MXFP4, with int8 activations: as
// integer_products.h, with what those formats have more (quantised_layout.h takes it out of the
// rows):
//
//   y = fma(float(Σ code · x), scale · activation scale, y)            for 32 columns, or twice 16
//   y = fma(minimum, −(activation scale · Σ x), y)                     if the format has minima
//
// Here too every row has one accumulator that takes blocks in order, whatever the tile.
//
// Included inside that file's anonymous namespace, so it includes nothing itself.
#pragma once

// sum + the block's columns of one token. `weights`, `scale`, `minimum`: every `stride`-th.
template <int scales, bool minima, int stride>
VECTOR_FUNCTION Floats add_block(Floats sum, const Bytes* weights, const Floats* scale,
                                 const Floats* minimum, const Int8Block& x) noexcept {
  Bytes low = start(x.first_offset), high = start(x.offset - x.first_offset);
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    low = dot4(low, weights[g * stride], four_columns(x.values + 4 * g));
    high = dot4(high, weights[(g + 4) * stride], four_columns(x.values + 4 * g + 16));
  }
  const Floats factor = broadcast(x.scale);
  if constexpr (scales == 1) {
    sum = multiply_add(to_floats(add(low, high)), multiply(scale[0], factor), sum);
  } else {
    sum = multiply_add(to_floats(low), multiply(scale[0], factor), sum);
    sum = multiply_add(to_floats(high), multiply(scale[stride], factor), sum);
  }
  if constexpr (minima) {
    // An offset is −128 · Σ x.
    const float unit = x.scale * 0x1p-7F;
    const int first = scales == 1 ? x.offset : x.first_offset;
    sum = multiply_add(minimum[0], broadcast(static_cast<float>(first) * unit), sum);
    if constexpr (scales == 2) {
      const auto second = static_cast<float>(x.offset - x.first_offset);
      sum = multiply_add(minimum[stride], broadcast(second * unit), sum);
    }
  }
  return sum;
}

// kLanes rows times one or two tokens, weights in registers.
template <Format format, int tokens>
VECTOR_FUNCTION void multiply_few(const MultiplyTask& task, int row) noexcept {
  const int count = std::min(kLanes, task.rows - row);
  const TileRows rows = tile_rows(*task.weights, task.first_row + row, count);
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  Ahead ahead(task, row + kLanes, kLanes, blocks);
  Head head{};
  Floats sum[tokens];
#pragma GCC unroll 2
  for (int t = 0; t < tokens; ++t) sum[t] = zero();
  for (int block = 0; block < blocks; ++block) {
    ahead.step();
    RowsOf<format> w;
    unpack_next<format>(rows, block, head, w);
#pragma GCC unroll 2
    for (int t = 0; t < tokens; ++t) {
      sum[t] = add_block<scales_of(format), has_minima(format), 1>(
          sum[t], w.weights, w.scale, w.minimum, blocks_of(task.rounded[t])[block]);
    }
  }
#pragma GCC unroll 2
  for (int t = 0; t < tokens; ++t) store_first(task.y + t * task.y_stride + row, sum[t], count);
}

// A block of a tile in scratch: kTileRows rows.
template <int scales, bool minima>
struct PackedQuantised {
  Floats scale[scales][kTileVectors];
  Floats minimum[minima ? scales : 1][kTileVectors];
  Bytes weights[kGroups][kTileVectors];
};

template <Format format>
using PackedOf = PackedQuantised<scales_of(format), has_minima(format)>;

template <Format format>
VECTOR_FUNCTION void pack_quantised(const MultiplyTask& task, int row,
                                    PackedOf<format>* tile) noexcept {
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  for (int v = 0; v < kTileVectors; ++v) {
    const int count = std::clamp(task.rows - row - v * kLanes, 1, kLanes);
    const int first = std::min(row + v * kLanes, task.rows - 1);
    const TileRows rows = tile_rows(*task.weights, task.first_row + first, count);
    Head head{};
    for (int block = 0; block < blocks; ++block) {
      RowsOf<format> w;
      unpack_next<format>(rows, block, head, w);
      for (int s = 0; s < scales_of(format); ++s) tile[block].scale[s][v] = w.scale[s];
      if constexpr (has_minima(format)) {
        for (int s = 0; s < scales_of(format); ++s) tile[block].minimum[s][v] = w.minimum[s];
      }
      for (int g = 0; g < kGroups; ++g) tile[block].weights[g][v] = w.weights[g];
    }
  }
}

template <int scales, bool minima, int tokens>
VECTOR_FUNCTION void multiply_quantised_tile(const MultiplyTask& task, int row, int first_token,
                                             const PackedQuantised<scales, minima>* tile) noexcept {
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  Floats sum[kTileVectors][tokens];
#pragma GCC unroll 4
  for (int t = 0; t < tokens; ++t) {
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) sum[v][t] = zero();
  }
  for (int block = 0; block < blocks; ++block) {
    const auto& w = tile[block];
#pragma GCC unroll 4
    for (int t = 0; t < tokens; ++t) {
      const Int8Block& x = blocks_of(task.rounded[first_token + t])[block];
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) {
        sum[v][t] = add_block<scales, minima, kTileVectors>(sum[v][t], &w.weights[0][v],
                                                            &w.scale[0][v], &w.minimum[0][v], x);
      }
    }
  }
  store_tile(task, row, first_token, sum);
}

template <Format format>
VECTOR_FUNCTION void multiply_quantised_format(const MultiplyTask& task) noexcept {
  constexpr int kScales = scales_of(format);
  constexpr bool kMinima = has_minima(format);
  static_assert(sizeof(PackedOf<format>) <= kUnpackedRows * kBlock * sizeof(float));
  if (task.tokens <= 2) {
    for (int row = 0; row < task.rows; row += kLanes) {
      if (task.tokens == 1) {
        multiply_few<format, 1>(task, row);
      } else {
        multiply_few<format, 2>(task, row);
      }
    }
    return;
  }
  auto* tile = aligned_in<PackedOf<format>>(task.scratch);
  for (int row = 0; row < task.rows; row += kTileRows) {
    pack_quantised<format>(task, row, tile);
    int t = 0;
    for (; t + 4 <= task.tokens; t += 4) {
      multiply_quantised_tile<kScales, kMinima, 4>(task, row, t, tile);
    }
    for (; t < task.tokens; ++t) multiply_quantised_tile<kScales, kMinima, 1>(task, row, t, tile);
  }
}

// Every format of form int8.
VECTOR_FUNCTION void multiply_integers(const MultiplyTask& task) noexcept {
  switch (task.weights->format) {
    case Format::q4_0:
      return multiply_quantised_format<Format::q4_0>(task);
    case Format::q4_1:
      return multiply_quantised_format<Format::q4_1>(task);
    case Format::q5_0:
      return multiply_quantised_format<Format::q5_0>(task);
    case Format::q5_1:
      return multiply_quantised_format<Format::q5_1>(task);
    case Format::q2_k:
      return multiply_quantised_format<Format::q2_k>(task);
    case Format::q3_k:
      return multiply_quantised_format<Format::q3_k>(task);
    case Format::q4_k:
      return multiply_quantised_format<Format::q4_k>(task);
    case Format::q5_k:
      return multiply_quantised_format<Format::q5_k>(task);
    case Format::q6_k:
      return multiply_quantised_format<Format::q6_k>(task);
    case Format::iq2_xxs:
      return multiply_quantised_format<Format::iq2_xxs>(task);
    case Format::iq2_xs:
      return multiply_quantised_format<Format::iq2_xs>(task);
    case Format::iq3_xxs:
      return multiply_quantised_format<Format::iq3_xxs>(task);
    case Format::iq4_nl:
      return multiply_quantised_format<Format::iq4_nl>(task);
    case Format::iq4_xs:
      return multiply_quantised_format<Format::iq4_xs>(task);
    default:
      return multiply_int8(task);
  }
}
