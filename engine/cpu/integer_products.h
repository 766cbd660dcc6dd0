// Products of narrow integer weights with int8 activations, written once over the few operations
// that an instruction set's file defines before it includes this one (see avx512_vnni.cpp).
//
// The sum over one block of 32 columns is an integer, exact in any order. Blocks follow one
// another:
//
//   y = fma(float(Σ w · x), weight scale · activation scale, y)       block 0, 1, 2, …
//
// so that every way to compute a row gives the same bits, as long as each row has one accumulator.
// Here each lane of a vector is a row of weights: a tile of kLanes rows is transposed while it is
// read, four columns a lane, and meets four columns of a token in one instruction. No sum crosses
// lanes, and results leave as they lie in y.
//
// Few tokens: the transposed block stays in registers. Many: the tile goes to scratch once and is
// met by all tokens, kTileTokens at a time.
//
// Included inside that file's anonymous namespace, so it includes nothing itself. Loops over
// registers are unrolled by pragma: an array stays in registers only if every index is a constant.
#pragma once

constexpr int kFusedTokens = 4;  // more pay for a tile in scratch

// kLanes rows times a few tokens, weights in registers.
template <Format format, int tokens>
VECTOR_FUNCTION void multiply_fused(const MultiplyTask& task, int row) noexcept {
  const int count = std::min(kLanes, task.rows - row);
  const TileRows rows = tile_rows(*task.weights, task.first_row + row, count);
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  Ahead ahead(task, row + kLanes, kLanes, blocks);
  Floats sum[tokens];
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) sum[t] = zero();
  for (int block = 0; block < blocks; ++block) {
    ahead.step();
    Bytes weights[kGroups];
    const Floats scales = unpack<format>(rows, block, weights);
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
      const Int8Block& x = blocks_of(task.rounded[t])[block];
      Bytes even = start(x.offset);  // two chains: a product takes several cycles
      Bytes odd = start(0);
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; g += 2) {
        even = dot4(even, weights[g], four_columns(x.values + 4 * g));
        odd = dot4(odd, weights[g + 1], four_columns(x.values + 4 * g + 4));
      }
      sum[t] =
          multiply_add(to_floats(add(even, odd)), multiply(scales, broadcast(x.scale)), sum[t]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) store_first(task.y + t * task.y_stride + row, sum[t], count);
}

template <int tokens>
VECTOR_FUNCTION void store_tile(const MultiplyTask& task, int row, int first_token,
                                const Floats (&sum)[kTileVectors][tokens]) noexcept {
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) {
    float* y = task.y + (first_token + t) * task.y_stride + row;
    const int count = task.rows - row;
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      if (count > v * kLanes) store_first(y + v * kLanes, sum[v][t], count - v * kLanes);
    }
  }
}

template <int tokens>
VECTOR_FUNCTION void multiply_tile(const MultiplyTask& task, int row, int first_token,
                                   const PackedBlock* tile, Ahead& ahead) noexcept {
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  const Int8Block* x[tokens];
  Floats sum[kTileVectors][tokens];
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t) {
    x[t] = blocks_of(task.rounded[first_token + t]);
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) sum[v][t] = zero();
  }
  for (int block = 0; block < blocks; ++block) {
    const PackedBlock& w = tile[block];
    ahead.step();
    Bytes products[kTileVectors][tokens];
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) products[v][t] = start(x[t][block].offset);
    }
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 8
      for (int t = 0; t < tokens; ++t) {
        const Bytes columns = four_columns(x[t][block].values + 4 * g);
#pragma GCC unroll 2
        for (int v = 0; v < kTileVectors; ++v)
          products[v][t] = dot4(products[v][t], w.weights[g][v], columns);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
      const Floats scale = broadcast(x[t][block].scale);
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) {
        sum[v][t] =
            multiply_add(to_floats(products[v][t]), multiply(w.scales[v], scale), sum[v][t]);
      }
    }
  }
  store_tile(task, row, first_token, sum);
}

// All tokens in groups of nearly the same size: a group of one or two would wait for its sums.
VECTOR_FUNCTION void multiply_packed(const MultiplyTask& task, int row,
                                     const PackedBlock* tile) noexcept {
  int first = 0;
  int groups = (task.tokens + kTileTokens - 1) / kTileTokens;
  Ahead ahead(task, row + kTileRows, kTileRows, task.weights->columns / kBlock * groups);
  for (; groups > 0; --groups) {
    const int tokens = (task.tokens - first + groups - 1) / groups;
    switch (tokens) {
      case 1:
        multiply_tile<1>(task, row, first, tile, ahead);
        break;
      case 2:
        multiply_tile<2>(task, row, first, tile, ahead);
        break;
      case 3:
        multiply_tile<3>(task, row, first, tile, ahead);
        break;
      case 4:
        multiply_tile<4>(task, row, first, tile, ahead);
        break;
      case 5:
        multiply_tile<5>(task, row, first, tile, ahead);
        break;
      default:
        multiply_tile<6>(task, row, first, tile, ahead);
    }
    first += tokens;
  }
}
static_assert(kTileTokens <= 6);

template <Format format>
VECTOR_FUNCTION void multiply_format(const MultiplyTask& task) noexcept {
  if (task.tokens > kFusedTokens) {
    auto* tile = aligned_in<PackedBlock>(task.scratch);
    for (int row = 0; row < task.rows; row += kTileRows) {
      pack_tile<format>(task, row, tile);
      multiply_packed(task, row, tile);
    }
    return;
  }
  for (int row = 0; row < task.rows; row += kLanes) {
    switch (task.tokens) {
      case 1:
        multiply_fused<format, 1>(task, row);
        break;
      case 2:
        multiply_fused<format, 2>(task, row);
        break;
      case 3:
        multiply_fused<format, 3>(task, row);
        break;
      default:
        multiply_fused<format, 4>(task, row);
    }
  }
}

VECTOR_FUNCTION void multiply_int8(const MultiplyTask& task) noexcept {
  switch (task.weights->format) {
    case Format::q8_0:
      return multiply_format<Format::q8_0>(task);
    case Format::mxfp4:
      return multiply_format<Format::mxfp4>(task);
    case Format::fp4:
      return multiply_format<Format::fp4>(task);
    default:
      return;  // integer_form() names no other
  }
}
