// The vector kernels, written once over the few operations that an instruction set's file defines
// before it includes this one: VECTOR_FUNCTION, Floats, kLanes, load, store, … (see avx2.cpp).
//
// One order of sums, whatever the tile: a dot product has one accumulator of kLanes lanes that
// walks the columns upwards, and one final tree over the lanes. Tiles only change how many such
// accumulators run side by side. Weights unpack to f32 without rounding, so it does not matter
// either whether they are unpacked in registers (one token) or into a buffer (many).
//
// `precise` kernels sum in double and round once. They serve comparisons (Activations::f32), where
// a difference of one rounding may move an FP8 row or a choice of rows and must not.
//
// Included inside that file's anonymous namespace, so it includes nothing itself. No lambdas: g++
// does not give them the target of the function around them. Loops over accumulators are unrolled
// by pragma: an array stays in registers only if every index into it is a constant.
// Longer than 500 lines: it stands for one file of intrinsics per instruction set.
#pragma once

template <bool precise>
struct SumType {
  using type = Floats;
};
template <>
struct SumType<true> {
  using type = Doubles;
};
template <bool precise>
using Sum = typename SumType<precise>::type;

constexpr int kVectorsPerBlock = kBlock / kLanes;
constexpr int kTileRows = 4;  // × kTileTokens accumulators, and the operands, fill the registers

VECTOR_FUNCTION int padded(std::int64_t columns) noexcept {
  return static_cast<int>((columns + kBlock - 1) / kBlock * kBlock);
}

// A row of weights of one format, 32 columns at a time.
struct Row {
  const std::byte* data;
  const std::byte* scales;
};

VECTOR_FUNCTION Row row_of(const Tensor& weights, std::int64_t row) noexcept {
  const std::int64_t scale_row = weights.format == Format::fp8 ? row / kFp8Block : row;
  return {
      weights.data + row * weights.row_bytes,
      weights.scales == nullptr ? nullptr : weights.scales + scale_row * weights.scale_row_bytes};
}

// As ue8m0_to_f32, but inline: 2^(code - 127), of which 2^-127 is a subnormal and 255 is NaN.
VECTOR_FUNCTION float scale_at(const std::byte* scale) noexcept {
  const auto code = std::to_integer<std::uint32_t>(*scale);
  return std::bit_cast<float>(code == 0 ? 0x00400000U : code == 255 ? 0x7FC00000U : code << 23);
}

// 2^(code - 128), half of an MXFP4 scale, in which 255 is no exception.
VECTOR_FUNCTION float half_scale_at(const std::byte* scale) noexcept {
  const auto code = std::to_integer<std::uint32_t>(*scale);
  return std::bit_cast<float>(code < 2 ? 0x00200000U << code : (code - 1) << 23);
}

template <Format format>
VECTOR_FUNCTION void unpack_block(const Row& row, int block, Floats* out) noexcept {
  const std::int64_t column = std::int64_t{block} * kBlock;
  if constexpr (format == Format::f32) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectorsPerBlock; ++i) {
      out[i] = load(reinterpret_cast<const float*>(row.data) + column + i * kLanes);
    }
  } else if constexpr (format == Format::f16) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectorsPerBlock; ++i)
      out[i] = load_f16(row.data + 2 * (column + i * kLanes));
  } else if constexpr (format == Format::bf16) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectorsPerBlock; ++i)
      out[i] = load_bf16(row.data + 2 * (column + i * kLanes));
  } else if constexpr (format == Format::q8_0) {
    const std::byte* at = row.data + std::int64_t{block} * kQ8BlockBytes;
    const Floats scale = broadcast_f16(at);
#pragma GCC unroll 4
    for (int i = 0; i < kVectorsPerBlock; ++i)
      out[i] = multiply(load_i8(at + 2 + i * kLanes), scale);
  } else if constexpr (format == Format::mxfp4) {
    const std::byte* at = row.data + std::int64_t{block} * kMxfp4BlockBytes;
    load_e2m1_halves(at + 1, half_scale_at(at), out);
  } else if constexpr (format == Format::fp8) {
    const float scale = scale_at(row.scales + column / kFp8Block);
#pragma GCC unroll 4
    for (int i = 0; i < kVectorsPerBlock; ++i)
      out[i] = load_e4m3(row.data + column + i * kLanes, scale);
  } else {
    static_assert(format == Format::fp4);
    load_e2m1_pairs(row.data + column / 2, scale_at(row.scales + block), out);
  }
}

// The columns after the last whole block, one by one. Formats of whole blocks have none.
VECTOR_FUNCTION void unpack_rest(const Tensor& weights, const Row& row, int first,
                                 float* out) noexcept {
  std::fill_n(out, kBlock, 0.0F);
  for (int c = first; c < weights.columns; ++c) {
    std::uint16_t half = 0;
    if (weights.format == Format::f32) {
      std::memcpy(out + c - first, row.data + 4 * static_cast<std::int64_t>(c), sizeof(float));
    } else if (weights.format == Format::fp8) {
      out[c - first] = e4m3_to_f32(std::to_integer<std::uint8_t>(row.data[c])) *
                       scale_at(row.scales + c / kFp8Block);
    } else {
      std::memcpy(&half, row.data + 2 * static_cast<std::int64_t>(c), sizeof half);
      out[c - first] = weights.format == Format::f16 ? f16_to_f32(half) : bf16_to_f32(half);
    }
  }
}

// ------------------------------------------------------------------------------- one token
template <bool precise, Format format, int rows>
VECTOR_FUNCTION void dot_rows(const Tensor& weights, std::int64_t first_row, const float* x,
                              float* y) noexcept {
  Row row[rows];
  Sum<precise> sum[rows];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    row[r] = row_of(weights, first_row + r);
    sum[r] = Sum<precise>{};
  }
  const auto blocks = static_cast<int>(weights.columns / kBlock);
  for (int block = 0; block < blocks; ++block) {
    Floats xs[kVectorsPerBlock];
#pragma GCC unroll 4
    for (int i = 0; i < kVectorsPerBlock; ++i) xs[i] = load(x + block * kBlock + i * kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      Floats w[kVectorsPerBlock];
      unpack_block<format>(row[r], block, w);
#pragma GCC unroll 4
      for (int i = 0; i < kVectorsPerBlock; ++i) sum[r] = multiply_add(w[i], xs[i], sum[r]);
    }
  }
  const int done = blocks * kBlock;
  const auto rest = static_cast<int>(weights.columns) - done;
  if (rest > 0) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      float w[kBlock];
      unpack_rest(weights, row[r], done, w);
      for (int i = 0; i < rest; i += kLanes) {
        sum[r] = multiply_add(load(w + i), load_first(x + done + i, rest - i), sum[r]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) y[r] = static_cast<float>(sum_of(sum[r]));
}

template <bool precise, Format format>
VECTOR_FUNCTION void multiply_one(const MultiplyTask& task) noexcept {
  int r = 0;
  for (; r + kTileRows <= task.rows; r += kTileRows) {
    dot_rows<precise, format, kTileRows>(*task.weights, task.first_row + r, task.x[0], task.y + r);
  }
  for (; r < task.rows; ++r) {
    dot_rows<precise, format, 1>(*task.weights, task.first_row + r, task.x[0], task.y + r);
  }
}

// ------------------------------------------------------------------------------ many tokens
// Rows of f32, `stride` apart, with zeros after `columns` up to a whole vector.
struct Unpacked {
  const float* values;
  std::int64_t stride;
  int columns;
};

// y[t · y_stride + r] = w[r] · x[t]
template <bool precise, int rows, int tokens>
VECTOR_FUNCTION void multiply_tile(const Unpacked& w, const float* const* x, float* y,
                                   std::int64_t y_stride) noexcept {
  Sum<precise> sum[rows][tokens];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) sum[r][t] = Sum<precise>{};
  }
  int c = 0;
  for (; c + kLanes <= w.columns; c += kLanes) {
    Floats xs[tokens];
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) xs[t] = load(x[t] + c);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const Floats ws = load(w.values + r * w.stride + c);
#pragma GCC unroll 8
      for (int t = 0; t < tokens; ++t) sum[r][t] = multiply_add(ws, xs[t], sum[r][t]);
    }
  }
  if (c < w.columns) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const Floats ws = load_first(w.values + r * w.stride + c, w.columns - c);
#pragma GCC unroll 8
      for (int t = 0; t < tokens; ++t) {
        sum[r][t] = multiply_add(ws, load_first(x[t] + c, w.columns - c), sum[r][t]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) y[t * y_stride + r] = static_cast<float>(sum_of(sum[r][t]));
  }
}

template <bool precise, int rows>
VECTOR_FUNCTION void multiply_tokens(const Unpacked& w, const float* const* x, int tokens, float* y,
                                     std::int64_t y_stride) noexcept {
  int t = 0;
  for (; t + kTileTokens <= tokens; t += kTileTokens) {
    multiply_tile<precise, rows, kTileTokens>(w, x + t, y + t * y_stride, y_stride);
  }
  if constexpr (kTileTokens > 4) {
    for (; t + 4 <= tokens; t += 4)
      multiply_tile<precise, rows, 4>(w, x + t, y + t * y_stride, y_stride);
  }
  for (; t + 2 <= tokens; t += 2)
    multiply_tile<precise, rows, 2>(w, x + t, y + t * y_stride, y_stride);
  if (t < tokens) multiply_tile<precise, rows, 1>(w, x + t, y + t * y_stride, y_stride);
}

// All `rows` of w times all tokens.
template <bool precise>
VECTOR_FUNCTION void multiply_unpacked(Unpacked w, int rows, const float* const* x, int tokens,
                                       float* y, std::int64_t y_stride) noexcept {
  for (; rows >= kTileRows; rows -= kTileRows, y += kTileRows, w.values += kTileRows * w.stride) {
    multiply_tokens<precise, kTileRows>(w, x, tokens, y, y_stride);
  }
  for (; rows > 0; --rows, ++y, w.values += w.stride) {
    multiply_tokens<precise, 1>(w, x, tokens, y, y_stride);
  }
}

template <bool precise, Format format>
VECTOR_FUNCTION void multiply_many(const MultiplyTask& task) noexcept {
  const Tensor& weights = *task.weights;
  const int stride = padded(weights.columns);
  const auto blocks = static_cast<int>(weights.columns / kBlock);
  for (int first = 0; first < task.rows; first += kUnpackedRows) {
    const int rows = std::min(kUnpackedRows, task.rows - first);
    for (int r = 0; r < rows; ++r) {
      const Row row = row_of(weights, task.first_row + first + r);
      float* out = task.scratch + static_cast<std::int64_t>(r) * stride;
      for (int block = 0; block < blocks; ++block) {
        Floats w[kVectorsPerBlock];
        unpack_block<format>(row, block, w);
#pragma GCC unroll 4
        for (int i = 0; i < kVectorsPerBlock; ++i) store(out + block * kBlock + i * kLanes, w[i]);
      }
      if (blocks * kBlock < weights.columns) {
        unpack_rest(weights, row, blocks * kBlock, out + blocks * kBlock);
      }
    }
    multiply_unpacked<precise>({task.scratch, stride, static_cast<int>(weights.columns)}, rows,
                               task.x, task.tokens, task.y + first, task.y_stride);
  }
}

template <bool precise, Format format>
VECTOR_FUNCTION void multiply_format(const MultiplyTask& task) noexcept {
  if (task.tokens == 1) {
    multiply_one<precise, format>(task);
  } else {
    multiply_many<precise, format>(task);
  }
}

// Formats without a vector form of their own: rows are unpacked by the definition, for one token
// too, so that a token's bits do not depend on how many there are.
template <bool precise>
VECTOR_FUNCTION void multiply_dequantised(const MultiplyTask& task) noexcept {
  const Tensor& weights = *task.weights;
  const int stride = padded(weights.columns);
  for (int first = 0; first < task.rows; first += kUnpackedRows) {
    const int rows = std::min(kUnpackedRows, task.rows - first);
    for (int r = 0; r < rows; ++r) {
      dequantize_row(weights, task.first_row + first + r,
                     task.scratch + static_cast<std::int64_t>(r) * stride);
    }
    multiply_unpacked<precise>({task.scratch, stride, static_cast<int>(weights.columns)}, rows,
                               task.x, task.tokens, task.y + first, task.y_stride);
  }
}

template <bool precise>
VECTOR_FUNCTION void multiply_weights(const MultiplyTask& task) noexcept {
  switch (task.weights->format) {
    case Format::f32:
      return multiply_format<precise, Format::f32>(task);
    case Format::f16:
      return multiply_format<precise, Format::f16>(task);
    case Format::bf16:
      return multiply_format<precise, Format::bf16>(task);
    case Format::q8_0:
      return multiply_format<precise, Format::q8_0>(task);
    case Format::mxfp4:
      return multiply_format<precise, Format::mxfp4>(task);
    case Format::fp8:
      return multiply_format<precise, Format::fp8>(task);
    case Format::fp4:
      return multiply_format<precise, Format::fp4>(task);
    case Format::i32:
    case Format::i64:
      return;  // tables, never multiplied
    default:
      return multiply_dequantised<precise>(task);
  }
}

// ------------------------------------------------------------------------------ elementwise
template <bool precise>
VECTOR_FUNCTION double inverse_rms(const float* x, int width, float epsilon) noexcept {
  // Four accumulators hide the latency of the additions: entry i goes to (i / kLanes) % 4.
  Sum<precise> sum[4] = {};
  int i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const Floats v = load(x + i + k * kLanes);
      sum[k] = multiply_add(v, v, sum[k]);
    }
  }
  for (; i < width; i += kLanes) {
    const Floats v = load_first(x + i, width - i);
    sum[0] = multiply_add(v, v, sum[0]);
  }
  const double squares = sum_of(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
  return 1.0 / std::sqrt(squares / width + epsilon);
}

VECTOR_FUNCTION void scale_values(const float* x, double factor, const float* weight, int width,
                                  float* y) noexcept {
  const Floats factors = broadcast(static_cast<float>(factor));
  for (int i = 0; i < width; i += kLanes) {
    Floats v = multiply(load_first(x + i, width - i), factors);
    if (weight != nullptr) v = multiply(v, load_first(weight + i, width - i));
    store_first(y + i, v, width - i);
  }
}

template <bool precise>
VECTOR_FUNCTION void combine(const float* const* rows, const float* weights, int count, int width,
                             float* y) noexcept {
  for (int i = 0; i < width; i += kLanes) {
    Sum<precise> sum{};
    for (int k = 0; k < count; ++k) {
      sum = multiply_add(broadcast(weights[k]), load_first(rows[k] + i, width - i), sum);
    }
    store_first(y + i, rounded(sum), width - i);
  }
}

template <bool precise>
VECTOR_FUNCTION void expand(float* streams, const float* y, const float* post, const float* comb,
                            int n, int width) noexcept {
  for (int i = 0; i < width; i += kLanes) {
    const int count = width - i;
    Floats old[kStreamsMax];
    for (int a = 0; a < n; ++a) {
      old[a] = load_first(streams + static_cast<std::int64_t>(a) * width + i, count);
    }
    const Floats out = load_first(y + i, count);
    for (int b = 0; b < n; ++b) {
      Sum<precise> mixed = multiply_add(broadcast(post[b]), out, Sum<precise>{});
      for (int a = 0; a < n; ++a) mixed = multiply_add(broadcast(comb[a * n + b]), old[a], mixed);
      store_first(streams + static_cast<std::int64_t>(b) * width + i, rounded(mixed), count);
    }
  }
}

// e^x = 2^n · e^r with r = x − n·ln 2, |r| ≤ 0.35, where Taylor's terms to r⁷ leave 5e-9. ln 2 in
// two parts, so that n·(first part) is exact. NaN stays NaN; below −87 the result is about 1e-38.
VECTOR_FUNCTION Floats exponential(Floats x) noexcept {
  x = smaller(broadcast(88.0F), larger(broadcast(-87.0F), x));
  const Floats n = round_to_integer(multiply(x, broadcast(1.44269504F)));
  Floats r = multiply_add(n, broadcast(-0.693359375F), x);
  r = multiply_add(n, broadcast(2.12194440e-4F), r);
  Floats sum = broadcast(1.0F / 5040);
  sum = multiply_add(sum, r, broadcast(1.0F / 720));
  sum = multiply_add(sum, r, broadcast(1.0F / 120));
  sum = multiply_add(sum, r, broadcast(1.0F / 24));
  sum = multiply_add(sum, r, broadcast(1.0F / 6));
  sum = multiply_add(sum, r, broadcast(0.5F));
  sum = multiply_add(sum, r, broadcast(1.0F));
  sum = multiply_add(sum, r, broadcast(1.0F));
  return times_power_of_two(sum, n);
}

VECTOR_FUNCTION void swiglu(float* gate, const float* up, int width, float limit) noexcept {
  const Floats one = broadcast(1.0F);
  for (int i = 0; i < width; i += kLanes) {
    const Floats g = smaller(broadcast(limit), load_first(gate + i, width - i));
    const Floats u =
        larger(broadcast(-limit), smaller(broadcast(limit), load_first(up + i, width - i)));
    const Floats sigmoid = divide(one, add(one, exponential(subtract(zero(), g))));
    store_first(gate + i, multiply(multiply(g, sigmoid), u), width - i);
  }
}

template <bool precise>
VECTOR_FUNCTION void pool(const Candidate* candidates, int count, int width, float* out) noexcept {
  for (int i = 0; i < width; i += kLanes) {
    const int left = width - i;
    Floats largest = broadcast(-INFINITY);
    for (int c = 0; c < count; ++c) {
      largest = larger(largest, add(load_first(candidates[c].gate + i, left),
                                    load_first(candidates[c].ape + i, left)));
    }
    Sum<precise> total{};
    Sum<precise> sum{};
    for (int c = 0; c < count; ++c) {
      const Floats gate =
          add(load_first(candidates[c].gate + i, left), load_first(candidates[c].ape + i, left));
      const Floats weight = exponential(subtract(gate, largest));
      total = multiply_add(weight, broadcast(1), total);
      sum = multiply_add(weight, load_first(candidates[c].value + i, left), sum);
    }
    store_first(out + i, divide(rounded(sum), rounded(total)), left);
  }
}

// -------------------------------------------------------------------------------- cached rows
VECTOR_FUNCTION void load_row(const RowFormat& format, const std::byte* stored,
                              float* row) noexcept {
  const int plain = format.form == RowForm::packed_row ? format.width - format.rope : 0;
  int i = 0;
  switch (format.form) {
    case RowForm::f32:
      std::memcpy(row, stored, static_cast<std::size_t>(format.bytes));
      return;
    case RowForm::f16:
      for (; i + kLanes <= format.width; i += kLanes) store(row + i, load_f16(stored + 2 * i));
      for (; i < format.width; ++i) {
        std::uint16_t half = 0;
        std::memcpy(&half, stored + 2 * i, sizeof half);
        row[i] = f16_to_f32(half);
      }
      return;
    case RowForm::packed_row:
      for (; i < plain; i += kLanes) {  // whole groups of 64
        const std::byte* scale = stored + plain + 2 * format.rope + i / kKvGroup;
        store(row + i, load_e4m3(stored + i, scale_at(scale)));
      }
      for (; i + kLanes <= format.width; i += kLanes) {
        store(row + i, load_bf16(stored + plain + 2 * (i - plain)));
      }
      for (; i < format.width; ++i) {
        std::uint16_t half = 0;
        std::memcpy(&half, stored + plain + 2 * (i - plain), sizeof half);
        row[i] = bf16_to_f32(half);
      }
      return;
    case RowForm::packed_key:
      for (; i < format.width; i += kKeyGroup) {
        Floats keys[kVectorsPerBlock];
        load_e2m1_pairs(stored + i / 2, scale_at(stored + format.width / 2 + i / kKeyGroup), keys);
        for (int k = 0; k < kVectorsPerBlock; ++k) store(row + i + k * kLanes, keys[k]);
      }
      return;
  }
}

// ---------------------------------------------------------------------------------- attention
// Rows are taken in blocks, counted from the query's first. The softmax runs along: sums so far are
// scaled down whenever a block raises a head's maximum.

VECTOR_FUNCTION std::int64_t attend_scratch(int heads, int width, int /*count*/) noexcept {
  const std::int64_t stride = padded(width);
  return stride * (kRowBlock + heads) + std::int64_t{heads} * (kRowBlock + 2);
}

// out[h] += Σ_j weights[h][j] · row j over `vectors` vectors of columns from `out` and `rows` on
template <bool precise, int heads, int vectors>
VECTOR_FUNCTION void add_rows(const float* weights, const float* rows, int count,
                              std::int64_t stride, float* out) noexcept {
  Sum<precise> sum[heads][vectors];
#pragma GCC unroll 4
  for (int h = 0; h < heads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v)
      sum[h][v] = multiply_add(load(out + h * stride + v * kLanes), broadcast(1), Sum<precise>{});
  }
  for (int j = 0; j < count; ++j) {
    Floats row[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) row[v] = load(rows + j * stride + v * kLanes);
#pragma GCC unroll 4
    for (int h = 0; h < heads; ++h) {
      const Floats weight = broadcast(weights[h * kRowBlock + j]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[h][v] = multiply_add(weight, row[v], sum[h][v]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < heads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(out + h * stride + v * kLanes, rounded(sum[h][v]));
  }
}

template <bool precise, int heads>
VECTOR_FUNCTION void add_rows_of_heads(const float* weights, const float* rows, int count,
                                       std::int64_t stride, float* out) noexcept {
  std::int64_t c = 0;
  for (; c + kTileVectors * kLanes <= stride; c += kTileVectors * kLanes) {
    add_rows<precise, heads, kTileVectors>(weights, rows + c, count, stride, out + c);
  }
  for (; c < stride; c += kLanes)
    add_rows<precise, heads, 1>(weights, rows + c, count, stride, out + c);
}

// dots[h · kRowBlock + j] = q of head h · row j
template <bool precise>
VECTOR_FUNCTION void score_rows(const Unpacked& rows, int count, const float* q, int heads,
                                float* dots) noexcept {
  constexpr int kHeads = 12;  // a multiple of every tile
  for (int first = 0; first < heads; first += kHeads) {
    const int some = std::min(kHeads, heads - first);
    const float* addresses[kHeads];
    for (int h = 0; h < some; ++h) {
      addresses[h] = q + static_cast<std::int64_t>(first + h) * rows.columns;
    }
    multiply_unpacked<precise>(rows, count, addresses, some, dots + first * kRowBlock, kRowBlock);
  }
}

// Turns a block's scores into weights relative to the head's new maximum; returns what the sums so
// far are to be multiplied by.
template <bool precise>
VECTOR_FUNCTION float weigh_block(float* scores, int count, float scale, float* largest,
                                  float* total) noexcept {
  Floats most = broadcast(*largest);
  const Floats scales = broadcast(scale);
  for (int j = 0; j < kRowBlock; j += kLanes) {
    const Floats scaled = multiply(load(scores + j), scales);
    store(scores + j, scaled);
    most = larger(most, select_first(scaled, broadcast(*largest), count - j));
  }
  const float now = largest_of(most);
  const float shrink = std::exp(*largest - now);
  Sum<precise> sum{};
  for (int j = 0; j < kRowBlock; j += kLanes) {
    const Floats weight =
        select_first(exponential(subtract(load(scores + j), broadcast(now))), zero(), count - j);
    store(scores + j, weight);
    sum = multiply_add(weight, broadcast(1), sum);
  }
  *largest = now;
  *total = *total * shrink + static_cast<float>(sum_of(sum));
  return shrink;
}

template <bool precise>
VECTOR_FUNCTION void attend(const AttendTask& task) noexcept {
  const int width = task.format->width;
  const std::int64_t stride = padded(width);
  float* rows = task.scratch;
  float* sums = rows + kRowBlock * stride;
  float* scores = sums + task.heads * stride;  // [heads, kRowBlock]
  float* largest = scores + task.heads * kRowBlock;
  float* total = largest + task.heads;

  // The sink is a row without a value: it starts the maximum and counts 1 of the total.
  std::fill_n(sums, task.heads * stride, 0.0F);
  std::fill_n(rows, kRowBlock * stride, 0.0F);
  std::fill_n(scores, task.heads * kRowBlock, 0.0F);
  for (int h = 0; h < task.heads; ++h) {
    largest[h] = task.sinks[h];
    total[h] = 1;
  }
  for (int first = 0; first < task.count; first += kRowBlock) {
    const int count = std::min(kRowBlock, task.count - first);
    for (int j = 0; j < count; ++j) load_row(*task.format, task.rows[first + j], rows + j * stride);
    score_rows<precise>({rows, stride, width}, count, task.q, task.heads, scores);
    for (int h = 0; h < task.heads; ++h) {
      const float shrink =
          weigh_block<precise>(scores + h * kRowBlock, count, task.scale, largest + h, total + h);
      if (shrink != 1)
        scale_values(sums + h * stride, shrink, nullptr, static_cast<int>(stride),
                     sums + h * stride);
    }
    int h = 0;
    for (; h + kHeadTile <= task.heads; h += kHeadTile) {
      add_rows_of_heads<precise, kHeadTile>(scores + h * kRowBlock, rows, count, stride,
                                            sums + h * stride);
    }
    for (; h < task.heads; ++h) {
      add_rows_of_heads<precise, 1>(scores + h * kRowBlock, rows, count, stride, sums + h * stride);
    }
  }
  for (int h = 0; h < task.heads; ++h) {
    scale_values(sums + h * stride, 1 / total[h], nullptr, width,
                 task.out + static_cast<std::int64_t>(h) * width);
  }
}

// ------------------------------------------------------------------------------------ indexer
VECTOR_FUNCTION std::int64_t index_scratch(int heads, int width) noexcept {
  return kRowBlock * (padded(width) + std::int64_t{heads});
}

// scores[j] of one query over `count` unpacked keys.
template <bool precise>
VECTOR_FUNCTION void score_keys(const IndexTask& task, int query, const Unpacked& keys, int count,
                                float* dots, float* scores) noexcept {
  const float* weights = task.weights + query * task.weights_stride;
  score_rows<precise>(keys, count, task.q + query * task.q_stride, task.heads, dots);
  for (int j = 0; j < count; j += kLanes) {
    Sum<precise> sum{};
    for (int h = 0; h < task.heads; ++h) {
      const Floats dot = larger(zero(), load(dots + h * kRowBlock + j));
      sum = multiply_add(broadcast(weights[h]), dot, sum);
    }
    store_first(scores + j, rounded(sum), count - j);
  }
}

template <bool precise>
VECTOR_FUNCTION void index_scores(const IndexTask& task) noexcept {
  const int width = task.keys->format.width;
  const std::int64_t stride = padded(width);
  float* keys = task.scratch;
  float* dots = keys + kRowBlock * stride;  // [heads, kRowBlock]
  for (int first = 0; first < task.count; first += kRowBlock) {
    const int count = std::min(kRowBlock, task.count - first);
    for (int j = 0; j < count; ++j) {
      load_row(task.keys->format, task.keys->row(task.first + first + j), keys + j * stride);
    }
    for (int i = 0; i < task.queries; ++i) {
      score_keys<precise>(task, i, {keys, stride, width}, count, dots,
                          task.scores + i * task.scores_stride + first);
    }
  }
}

template <bool precise>
constexpr Kernels kernels_named(std::string_view name) noexcept {
  return {.name = name,
          .form = always_f32,
          .multiply = multiply_weights<precise>,
          .round = plain_round,
          .inverse_rms = inverse_rms<precise>,
          .scale = precise ? plain_scale : scale_values,
          .combine = combine<precise>,
          .expand = expand<precise>,
          .swiglu = precise ? plain_swiglu : swiglu,
          .pool = pool<precise>,
          .attend = attend<precise>,
          .attend_scratch = attend_scratch,
          .index_scores = index_scores<precise>,
          .index_scratch = index_scratch,
          .list_reaching = plain_list_reaching,
          .load = load_row};
}
