// Tiles of narrow integer weights, transposed so that a lane is a row: what products of integers
// take, written over the few operations that an instruction set's file defines before it includes
// this one (see avx512_vnni.cpp).
//
// Included inside that file's anonymous namespace, so it includes nothing itself. Loops over
// registers are unrolled by pragma: an array stays in registers only if every index is a constant.
#pragma once

constexpr int kGroups = kBlock / 4;  // of four columns in a block
constexpr int kTileRows = kTileVectors * kLanes;

// Where kLanes rows begin; a tile's last rows may repeat, their results are not stored.
struct TileRows {
  const std::byte* data[kLanes];
  const std::byte* scales[kLanes];
};

VECTOR_FUNCTION TileRows tile_rows(const Tensor& weights, std::int64_t first, int count) noexcept {
  TileRows rows;
  for (int r = 0; r < kLanes; ++r) {
    const std::int64_t row = first + std::min(r, count - 1);
    rows.data[r] = weights.data + row * weights.row_bytes;
    rows.scales[r] =
        weights.scales == nullptr ? nullptr : weights.scales + row * weights.scale_row_bytes;
  }
  return rows;
}

// out[g]: lane r holds dword g of row r's 16 bytes at `at`.
VECTOR_FUNCTION void transpose(const std::byte* const* rows, std::int64_t at, Bytes* out) noexcept {
  const Bytes a = every_fourth(rows, at), b = every_fourth(rows + 1, at);
  const Bytes c = every_fourth(rows + 2, at), d = every_fourth(rows + 3, at);
  transpose_quarters(a, b, c, d, out);
}

// weights[g]: lane r holds columns 4g to 4g + 3 of row r; returns every row's scale.
template <Format format>
VECTOR_FUNCTION Floats unpack(const TileRows& rows, int block, Bytes* weights) noexcept {
  if constexpr (format == Format::q8_0) {
    const std::int64_t at = std::int64_t{block} * kQ8BlockBytes;
    transpose(rows.data, at + 2, weights);
    transpose(rows.data, at + 18, weights + 4);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) weights[g] = encode(weights[g]);
    return half_scales(rows.data, at);
  } else if constexpr (format == Format::mxfp4) {
    const std::int64_t at = std::int64_t{block} * kMxfp4BlockBytes;
    Bytes codes[4];
    transpose(rows.data, at + 1, codes);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      weights[g] = e2m1_doubled(codes[g]);
      weights[g + 4] = e2m1_doubled(high_nibbles(codes[g]));
    }
    return halved_powers(scale_codes(rows.data, at));
  } else {
    static_assert(format == Format::fp4);
    const std::int64_t at = std::int64_t{block} * (kBlock / 2);
    Bytes low[4], high[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const Bytes codes = every_fourth(rows.data + k, at);
      const Bytes even = e2m1_doubled(codes), odd = e2m1_doubled(high_nibbles(codes));
      low[k] = unpack_low_bytes(even, odd);
      high[k] = unpack_high_bytes(even, odd);
    }
    transpose_quarters(low[0], low[1], low[2], low[3], weights);
    transpose_quarters(high[0], high[1], high[2], high[3], weights + 4);
    return halved_powers_or_nan(scale_codes(rows.scales, block));
  }
}

VECTOR_FUNCTION const Int8Block* blocks_of(const std::byte* rounded) noexcept {
  return reinterpret_cast<const Int8Block*>(rounded);
}

// A block of a tile in scratch: kTileRows rows.
struct PackedBlock {
  Floats scales[kTileVectors];
  Bytes weights[kGroups][kTileVectors];
};

template <Format format>
VECTOR_FUNCTION void pack_tile(const MultiplyTask& task, int row, PackedBlock* tile) noexcept {
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  for (int v = 0; v < kTileVectors; ++v) {
    const int count = std::clamp(task.rows - row - v * kLanes, 1, kLanes);
    const int first = std::min(row + v * kLanes, task.rows - 1);
    const TileRows rows = tile_rows(*task.weights, task.first_row + first, count);
    for (int block = 0; block < blocks; ++block) {
      Bytes weights[kGroups];
      tile[block].scales[v] = unpack<format>(rows, block, weights);
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) tile[block].weights[g][v] = weights[g];
    }
  }
}

// Scratch holds kUnpackedRows rows of f32, padded by a block.
static_assert(sizeof(PackedBlock) <= kUnpackedRows * kBlock * sizeof(float));
