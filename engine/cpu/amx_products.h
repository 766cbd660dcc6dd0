// Products in AMX tiles: whole blocks of 16 x 16 sums an instruction. Written once over `Tiles`,
// which amx.cpp defines as the instructions and a test as plain loops.
//
// int8   A block of 32 columns is one instruction: rows of the result are tokens, columns are rows
//        of weights, as integer_layout.h transposes them. The integers are exact and meet their
//        scales in the order of integer_products.h, so the bits are those of AVX-512 VNNI, and
//        few tokens may go there.
// bf16   Weights lie in memory as an instruction wants its first factor: rows of the result are
//        rows of weights, columns are tokens. FP8 is unpacked to bf16 first and is scaled every 128
//        columns. One accumulator an output walks the columns upwards, 32 an instruction.
//
// Included inside that file's anonymous namespace, so it includes nothing itself.
#pragma once

constexpr int kTileSide = 16;  // rows of a tile register, and 32-bit sums in each
constexpr int kTileRowBytes = 64;

VECTOR_FUNCTION const Int8Block* int8_blocks(const std::byte* rounded) noexcept {
  return reinterpret_cast<const Int8Block*>(rounded);
}

// ----------------------------------------------------------------------------------------- int8
// Registers: 0 to 3 sums, 4 and 5 tokens, 6 and 7 weights. Two blocks are under way at a time.
constexpr int kBlocksTogether = 2;
static_assert(kTileVectors == 2);

struct alignas(kTileRowBytes) Int8Tiles {
  std::int8_t tokens[kBlocksTogether][kTileSide][kBlock] = {};
  std::int32_t products[kBlocksTogether][kTileVectors][kTileSide][kTileSide];
  float sums[kTileSide][kTileVectors][kTileSide] = {};
};

template <int slot>
VECTOR_FUNCTION void multiply_block(const PackedBlock& weights, Int8Tiles& tiles) noexcept {
  Tiles::zero<2 * slot>();
  Tiles::zero<2 * slot + 1>();
  Tiles::load<4 + slot>(tiles.tokens[slot], kBlock);
  Tiles::load<6>(&weights.weights[0][0], kTileVectors * kTileRowBytes);
  Tiles::multiply_int8<2 * slot, 4 + slot, 6>();
  Tiles::load<7>(&weights.weights[0][1], kTileVectors * kTileRowBytes);
  Tiles::multiply_int8<2 * slot + 1, 4 + slot, 7>();
  Tiles::store<2 * slot>(tiles.products[slot][0], kTileRowBytes);
  Tiles::store<2 * slot + 1>(tiles.products[slot][1], kTileRowBytes);
}

// kTileRows rows times up to kTileSide tokens.
VECTOR_FUNCTION void multiply_int8_tile(const MultiplyTask& task, int row, int first_token,
                                        const PackedBlock* weights) noexcept {
  const auto blocks = static_cast<int>(task.weights->columns / kBlock);
  const int tokens = std::min(kTileSide, task.tokens - first_token);
  Int8Tiles tiles;
  for (int first = 0; first < blocks; first += kBlocksTogether) {
    const int together = std::min(kBlocksTogether, blocks - first);
    for (int b = 0; b < together; ++b) {
      for (int t = 0; t < tokens; ++t) {
        std::memcpy(tiles.tokens[b][t],
                    int8_blocks(task.rounded[first_token + t])[first + b].values, kBlock);
      }
    }
    multiply_block<0>(weights[first], tiles);
    if (together > 1) multiply_block<1>(weights[first + 1], tiles);
    for (int t = 0; t < tokens; ++t) {
      const Int8Block* x = int8_blocks(task.rounded[first_token + t]) + first;
      for (int v = 0; v < kTileVectors; ++v) {
        Floats sum = _mm512_load_ps(tiles.sums[t][v]);
        for (int b = 0; b < together; ++b) {
          const Floats scale = multiply(weights[first + b].scales[v], broadcast(x[b].scale));
          const Bytes products = _mm512_load_si512(tiles.products[b][v][t]);
          sum = multiply_add(to_floats(products), scale, sum);
        }
        _mm512_store_ps(tiles.sums[t][v], sum);
      }
    }
  }
  for (int t = 0; t < tokens; ++t) {
    float* y = task.y + (first_token + t) * task.y_stride + row;
    for (int v = 0; v < kTileVectors && row + v * kLanes < task.rows; ++v) {
      store_first(y + v * kLanes, _mm512_load_ps(tiles.sums[t][v]), task.rows - row - v * kLanes);
    }
  }
}

template <Format format>
VECTOR_FUNCTION void multiply_int8_format(const MultiplyTask& task) noexcept {
  auto* weights = aligned_in<PackedBlock>(task.scratch);
  for (int row = 0; row < task.rows; row += kTileRows) {
    pack_tile<format>(task, row, weights);
    for (int first = 0; first < task.tokens; first += kTileSide) {
      multiply_int8_tile(task, row, first, weights);
    }
  }
}

VECTOR_FUNCTION void multiply_int8_tiles(const MultiplyTask& task) noexcept {
  constexpr int kGroupRows = kBlock / 4;  // of the second factor: four columns each
  Tiles::Shape shape;
  for (int i = 0; i < 4; ++i) shape.set(i, kTileSide, kTileRowBytes);
  for (int i = 4; i < 6; ++i) shape.set(i, kTileSide, kBlock);
  for (int i = 6; i < 8; ++i) shape.set(i, kGroupRows, kTileRowBytes);
  Tiles::configure(shape);
  switch (task.weights->format) {
    case Format::q8_0:
      multiply_int8_format<Format::q8_0>(task);
      break;
    case Format::mxfp4:
      multiply_int8_format<Format::mxfp4>(task);
      break;
    case Format::fp4:
      multiply_int8_format<Format::fp4>(task);
      break;
    default:
      break;  // no other has tiles
  }
  Tiles::release();
}

// ----------------------------------------------------------------------------------------- bf16
// Registers: 0 sums, 1 weights, 2 tokens.

// Where kTileSide rows of bf16 lie, `stride` bytes apart.
struct WeightRows {
  const std::byte* data = nullptr;
  std::int64_t stride = 0;
};

// Up to kTileSide tokens: [columns / 2][tokens] pairs of bf16.
struct TokenColumns {
  const std::byte* pairs = nullptr;
  int first = 0;
  int count = 0;
};

VECTOR_FUNCTION std::int64_t padded_columns(const Tensor& weights) noexcept {
  return (weights.columns + kBlock - 1) / kBlock * kBlock;
}

// A single token lies as it should already.
VECTOR_FUNCTION TokenColumns pair_columns(const MultiplyTask& task, int first,
                                          std::byte* memory) noexcept {
  const int count = std::min(kTileSide, task.tokens - first);
  if (count == 1) return {task.rounded[first], first, count};
  const std::int64_t pairs = padded_columns(*task.weights) / 2;
  for (int t = 0; t < count; ++t) {
    const std::byte* x = task.rounded[first + t];
    std::byte* to = memory + 4 * t;
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      std::memcpy(to + pair * 4 * count, x + 4 * pair, 4);
    }
  }
  return {memory, first, count};
}

// Rows [row, row + kTileSide) of the task as bf16: in place if a register can take them from there.
VECTOR_FUNCTION WeightRows bf16_rows(const MultiplyTask& task, int row,
                                     std::byte* memory) noexcept {
  const Tensor& weights = *task.weights;
  const bool whole = task.rows - row >= kTileSide && weights.columns % kBlock == 0;
  if (whole && weights.format == Format::bf16) {
    return {weights.data + (task.first_row + row) * weights.row_bytes, weights.row_bytes};
  }
  const std::int64_t stride = padded_columns(weights) * 2;
  for (int r = 0; r < kTileSide; ++r) {
    const std::int64_t from = task.first_row + std::min(row + r, task.rows - 1);
    const std::byte* data = weights.data + from * weights.row_bytes;
    std::byte* to = memory + r * stride;
    if (weights.format == Format::bf16) {
      std::memset(to + stride - 2 * kBlock, 0, 2 * kBlock);
      std::memcpy(to, data, static_cast<std::size_t>(2 * weights.columns));
      continue;
    }
    for (std::int64_t c = 0; c < weights.columns; c += kBlock) {
      std::byte rest[kBlock] = {};
      const bool last = c + kBlock > weights.columns;
      if (last) std::memcpy(rest, data + c, static_cast<std::size_t>(weights.columns - c));
      _mm512_storeu_si512(to + 2 * c, fp8_to_bf16(last ? rest : data + c));
    }
  }
  return {memory, stride};
}

// y of kTileSide rows and some tokens. FP8: every kFp8Block columns end with their scale.
VECTOR_FUNCTION void multiply_bf16_tile(const MultiplyTask& task, int row, const WeightRows& rows,
                                        const TokenColumns& tokens) noexcept {
  const Tensor& weights = *task.weights;
  const bool scaled = weights.format == Format::fp8;
  const std::int64_t columns = padded_columns(weights);
  const std::int64_t part = scaled ? std::int64_t{kFp8Block} : columns;
  const int stride = 4 * tokens.count;
  alignas(kTileRowBytes) float sums[kTileSide][kTileSide] = {};
  alignas(kTileRowBytes) float parts[kTileSide][kTileSide] = {};
  for (std::int64_t first = 0; first < columns; first += part) {
    Tiles::zero<0>();
    for (std::int64_t c = first; c < std::min(first + part, columns); c += kBlock) {
      Tiles::load<1>(rows.data + 2 * c, rows.stride);
      Tiles::load<2>(tokens.pairs + c / 2 * stride, stride);
      Tiles::multiply_bf16<0, 1, 2>();
    }
    Tiles::store<0>(parts, kTileRowBytes);
    for (int r = 0; r < kTileSide; ++r) {
      const std::int64_t from = task.first_row + std::min(row + r, task.rows - 1);
      const float scale =
          scaled
              ? ue8m0_to_f32(std::to_integer<std::uint8_t>(
                    weights.scales[from / kFp8Block * weights.scale_row_bytes + first / kFp8Block]))
              : 1.0F;
      _mm512_store_ps(sums[r], multiply_add(_mm512_load_ps(parts[r]), broadcast(scale),
                                            _mm512_load_ps(sums[r])));
    }
  }
  for (int t = 0; t < tokens.count; ++t) {
    float* y = task.y + (tokens.first + t) * task.y_stride + row;
    for (int r = 0; r < std::min(kTileSide, task.rows - row); ++r) y[r] = sums[r][t];
  }
}

VECTOR_FUNCTION void multiply_bf16_tiles(const MultiplyTask& task) noexcept {
  auto* memory = aligned_in<std::byte>(task.scratch);
  std::byte* unpacked = memory + padded_columns(*task.weights) * 2 * kTileSide;
  for (int first = 0; first < task.tokens; first += kTileSide) {
    const TokenColumns tokens = pair_columns(task, first, memory);
    Tiles::Shape shape;
    shape.set(0, kTileSide, 4 * tokens.count);
    shape.set(1, kTileSide, kTileRowBytes);
    shape.set(2, kBlock / 2, 4 * tokens.count);
    Tiles::configure(shape);
    for (int row = 0; row < task.rows; row += kTileSide) {
      multiply_bf16_tile(task, row, bf16_rows(task, row, unpacked), tokens);
    }
  }
  Tiles::release();
}

// Tokens and rows in bf16 fill the scratch memory, whose padding of a block serves to align them.
static_assert(2 * kTileSide * 2 <= kUnpackedRows * static_cast<int>(sizeof(float)));
