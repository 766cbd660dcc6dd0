// Attention of one query in AVX-512 BF16: two matrix products over tiles of cached rows.
//
// A packed row (FP8 codes with a power of two per group, and a BF16 rotary part) is bf16 without
// rounding. All heads share it as key and value, so a block of rows is unpacked once, twice over:
//
//   keys    [row][column]        scores[row][head] = Σ_column key · q, lanes are heads
//   values  [row / 2][column][2] out[head][column] += Σ_row weight · value, lanes are columns
//
// because an instruction multiplies pairs of neighbours: of columns in the first product, of rows
// in the second. Keys are used up tile by tile and stay within an L1 cache. With heads as lanes the
// softmax needs no sums across lanes.
//
// One order of sums, whatever the tile: a score walks its columns upwards and an output its rows,
// pair by pair, in one accumulator. Blocks are counted from the query's first row; many make
// pieces, whose softmax is their own until they are joined in order. How heads and pieces are split
// over tasks does not show.
#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/attention_kernels.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

#include "engine/cpu/avx512_transpose.h"

// Rows of a block. 96 rows of width 512 as values, 64 heads of queries and outputs are 300 KiB,
// within an L2 cache of 1 MiB.
constexpr int kRows = 96;
// More rows are cut into pieces, each of so many blocks at least. V4-Flash's sparse layers attend
// to 640 rows; its others reach 1152 at 131072 tokens.
constexpr int kWholeRows = 768;
constexpr int kPieceBlocks = 3;
// Rows whose keys are there at a time: a multiple of every tile, and kRows one of it.
constexpr int kKeyRows = 12;
constexpr int kTileVectors = 4;  // × kTileHeads accumulators, and the operands, fill the registers
constexpr int kTileHeads = 6;
// Products of 48 pairs of rows with 32 heads of width 512 take 2300 steps; the next 96 rows of 583
// bytes are 960 lines.
constexpr int kPairsPerLine = 2;

#include "engine/cpu/avx512_packed_rows.h"

// Where a task's parts lie in its scratch memory, each on a cache line.
struct Scratch {
  int vectors = 0;  // of heads
  std::int64_t width = 0;
  std::uint16_t* queries = nullptr;  // [vectors][width / 2][kLanes][2]
  std::uint16_t* keys = nullptr;     // [kKeyRows][width]
  std::uint16_t* values = nullptr;   // [kRows / 2][width][2]
  float* scores = nullptr;           // [kRows][vectors · kLanes]
  std::uint16_t* weights = nullptr;  // [kRows / 2][vectors · kLanes][2]
  float* largest = nullptr;          // [vectors · kLanes], as the next two
  float* total = nullptr;
  float* shrink = nullptr;
  AttendPart piece;                 // of several
  float* joined_largest = nullptr;  // of those before it
  float* joined_total = nullptr;
};

std::int64_t layout(int heads, int width, float* memory, Scratch* scratch) noexcept {
  const int vectors = (heads + kLanes - 1) / kLanes;
  const std::int64_t lanes = std::int64_t{vectors} * kLanes;
  const std::int64_t sizes[] = {lanes * width / 2, std::int64_t{kKeyRows} * width / 2,
                                std::int64_t{kRows} * width / 2, kRows * lanes, kRows * lanes / 2};
  std::int64_t total = kLanes;  // to reach a cache line
  for (const std::int64_t size : sizes) total += size;
  total += 7 * lanes + lanes * width;
  if (scratch == nullptr) return total;

  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  float* at = memory + (64 - address % 64) % 64 / sizeof(float);
  const auto take = [&](std::int64_t floats) {
    float* part = at;
    at += floats;
    return part;
  };
  scratch->vectors = vectors;
  scratch->width = width;
  scratch->queries = reinterpret_cast<std::uint16_t*>(take(sizes[0]));
  scratch->keys = reinterpret_cast<std::uint16_t*>(take(sizes[1]));
  scratch->values = reinterpret_cast<std::uint16_t*>(take(sizes[2]));
  scratch->scores = take(sizes[3]);
  scratch->weights = reinterpret_cast<std::uint16_t*>(take(sizes[4]));
  scratch->largest = take(lanes);
  scratch->total = take(lanes);
  scratch->shrink = take(lanes);
  scratch->piece.out = take(lanes * width);
  scratch->piece.largest = take(lanes);
  scratch->piece.total = take(lanes);
  scratch->joined_largest = take(lanes);
  scratch->joined_total = take(lanes);
  return total;
}

VECTOR_FUNCTION __m512bh load_pairs(const std::uint16_t* p) noexcept {
  __m512bh pairs;
  std::memcpy(&pairs, p, sizeof pairs);
  return pairs;
}

// The pair at p in every lane.
VECTOR_FUNCTION __m512bh broadcast_pair(const std::uint16_t* p) noexcept {
  std::int32_t pair = 0;
  std::memcpy(&pair, p, sizeof pair);
  const __m512i all = _mm512_set1_epi32(pair);
  __m512bh pairs;
  std::memcpy(&pairs, &all, sizeof pairs);
  return pairs;
}

// As _mm512_dpbf16_ps, of which g++ 12 copies sums that start equal at every step.
VECTOR_FUNCTION void add_products(__m512& sum, __m512bh a, __m512bh b) noexcept {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

// e^x for a softmax weight, x ≤ 0: 2^n · 2^f with |f| ≤ 1/2, where Taylor's terms to f⁵ leave 3e-6;
// a bf16 keeps 4e-3. Far below zero the result is 0; NaN stays NaN.
VECTOR_FUNCTION __m512 exponential(__m512 x) noexcept {
  const __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504F));
  const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(t, n);
  __m512 sum = _mm512_set1_ps(1.3333558e-3F);  // ln(2)^k / k!
  sum = _mm512_fmadd_ps(sum, f, _mm512_set1_ps(9.6181291e-3F));
  sum = _mm512_fmadd_ps(sum, f, _mm512_set1_ps(5.5504109e-2F));
  sum = _mm512_fmadd_ps(sum, f, _mm512_set1_ps(2.4022651e-1F));
  sum = _mm512_fmadd_ps(sum, f, _mm512_set1_ps(6.9314718e-1F));
  sum = _mm512_fmadd_ps(sum, f, _mm512_set1_ps(1.0F));
  return _mm512_scalef_ps(sum, n);
}

// ------------------------------------------------------------------------------------ unpacking
// `count` rows from `row` of the block on, which begins at row `first` of the task.
VECTOR_FUNCTION void unpack_rows(const AttendTask& task, int first, int row, int count,
                                 const Scratch& to) noexcept {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int j = 0; j < count; j += 2) {
    const std::byte* even = task.rows[first + row + j];
    const std::byte* odd = j + 1 < count ? task.rows[first + row + j + 1] : nullptr;
    std::uint16_t* keys = to.keys + j * to.width;
    std::uint16_t* values = to.values + (row + j) * to.width;
    for (int c = 0; c < to.width; c += kColumns) {
      const __m512i a = load_columns(*task.format, even, c);
      const __m512i b =
          odd != nullptr ? load_columns(*task.format, odd, c) : _mm512_setzero_si512();
      _mm512_store_si512(keys + c, a);
      _mm512_store_si512(keys + to.width + c, b);
      _mm512_store_si512(values + 2 * c, _mm512_permutex2var_epi16(a, low, b));
      _mm512_store_si512(values + 2 * c + kColumns, _mm512_permutex2var_epi16(a, high, b));
    }
  }
}

// Queries as pairs of columns, heads side by side; heads that do not exist are zeros.
VECTOR_FUNCTION void pack_queries(const AttendTask& task, const Scratch& to) noexcept {
  for (int v = 0; v < to.vectors; ++v) {
    std::uint16_t* out = to.queries + v * to.width * kLanes;
    for (int c = 0; c < to.width; c += kColumns) {
      __m512i heads[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        heads[i] = _mm512_setzero_si512();
        if (v * kLanes + i >= task.heads) continue;
        const float* q = task.q + (v * kLanes + i) * to.width + c;
        heads[i] = bits(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(q + kLanes), _mm512_loadu_ps(q)));
      }
      transpose(heads);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        _mm512_store_si512(out + (c / 2 + i) * 2 * kLanes, heads[i]);
      }
    }
  }
}

// --------------------------------------------------------------------------------------- scores
// Of rows from `key_row` of the keys on, which are those from `row` of the block on.
template <int vectors, int rows>
VECTOR_FUNCTION void score_tile(const Scratch& s, int vector, int key_row, int row) noexcept {
  const std::int64_t half = s.width / 2;
  const std::uint16_t* q = s.queries + vector * half * kLanes * 2;
  const std::uint16_t* keys = s.keys + key_row * s.width;
  __m512 sum[rows][vectors];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  for (std::int64_t pair = 0; pair < half; ++pair) {
    __m512bh heads[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) heads[v] = load_pairs(q + (v * half + pair) * kLanes * 2);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      const __m512bh key = broadcast_pair(keys + r * s.width + 2 * pair);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) add_products(sum[r][v], heads[v], key);
    }
  }
  float* out = s.scores + (std::int64_t{row} * s.vectors + vector) * kLanes;
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      _mm512_store_ps(out + (r * s.vectors + v) * kLanes, sum[r][v]);
    }
  }
}

// Scores of kKeyRows rows from `row` of the block on; what lies behind the last is never used.
VECTOR_FUNCTION void score_rows(const Scratch& s, int row) noexcept {
  int v = 0;
  for (; v + 4 <= s.vectors; v += 4) {
    score_tile<4, kKeyRows / 2>(s, v, 0, row);
    score_tile<4, kKeyRows / 2>(s, v, kKeyRows / 2, row + kKeyRows / 2);
  }
  if (v + 2 <= s.vectors) {
    score_tile<2, kKeyRows>(s, v, 0, row);
    v += 2;
  }
  if (v < s.vectors) score_tile<1, kKeyRows>(s, v, 0, row);
}

// -------------------------------------------------------------------------------------- softmax
// Turns a block's scores into weights relative to each head's new maximum. The total counts the
// weights as rounded, so that they sum to one.
VECTOR_FUNCTION void weigh_rows(const Scratch& s, int count, float scale) noexcept {
  const __m512 scales = _mm512_set1_ps(scale);
  const __m512i interleave =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                       21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const std::int64_t stride = std::int64_t{s.vectors} * kLanes;
  for (int v = 0; v < s.vectors; ++v) {
    const float* scores = s.scores + v * kLanes;
    const __m512 before = _mm512_load_ps(s.largest + v * kLanes);
    __m512 most = before;
    for (int j = 0; j < count; ++j) {
      most = _mm512_max_ps(_mm512_mul_ps(_mm512_load_ps(scores + j * stride), scales), most);
    }
    __m512 sum = _mm512_setzero_ps();
    for (int j = 0; j < count; j += 2) {
      const __m512 even =
          exponential(_mm512_fmsub_ps(_mm512_load_ps(scores + j * stride), scales, most));
      __m512 odd = _mm512_setzero_ps();
      if (j + 1 < count) {
        odd = exponential(_mm512_fmsub_ps(_mm512_load_ps(scores + (j + 1) * stride), scales, most));
      }
      const __m512i pairs =
          _mm512_permutexvar_epi16(interleave, bits(_mm512_cvtne2ps_pbh(odd, even)));
      _mm512_store_si512(s.weights + (j * stride + 2 * v * kLanes), pairs);
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_and_si512(
                                   pairs, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U)))));
    }
    const __m512 shrink = exponential(_mm512_sub_ps(before, most));
    const __m512 total = _mm512_fmadd_ps(_mm512_load_ps(s.total + v * kLanes), shrink, sum);
    _mm512_store_ps(s.total + v * kLanes, total);
    _mm512_store_ps(s.largest + v * kLanes, most);
    _mm512_store_ps(s.shrink + v * kLanes, shrink);
  }
}

// ------------------------------------------------------------------------------------- outputs
// out[h] = shrink[h] · out[h] + Σ weights · values, for 16 · vectors columns. `fresh`: nothing is
// in `out` yet.
template <int heads, int vectors>
VECTOR_FUNCTION void add_tile(const Scratch& s, int pairs, int head, std::int64_t column,
                              RowsAhead& ahead, bool fresh, float* out) noexcept {
  const std::uint16_t* values = s.values + 2 * column;
  const std::uint16_t* weights = s.weights + 2 * head;
  const std::int64_t stride = std::int64_t{s.vectors} * kLanes * 2;
  out += head * s.width + column;
  __m512 sum[heads][vectors];
#pragma GCC unroll 6
  for (int h = 0; h < heads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[h][v] = _mm512_setzero_ps();
  }
  if (!fresh) {
#pragma GCC unroll 6
    for (int h = 0; h < heads; ++h) {
      const __m512 shrink = _mm512_set1_ps(s.shrink[head + h]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sum[h][v] = _mm512_mul_ps(_mm512_loadu_ps(out + h * s.width + v * kLanes), shrink);
      }
    }
  }
  for (int pair = 0; pair < pairs; ++pair) {
    if (pair % kPairsPerLine == 0) ahead.step();
    __m512bh rows[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      rows[v] = load_pairs(values + 2 * (pair * s.width + v * kLanes));
    }
#pragma GCC unroll 6
    for (int h = 0; h < heads; ++h) {
      const __m512bh weight = broadcast_pair(weights + pair * stride + 2 * h);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) add_products(sum[h][v], rows[v], weight);
    }
  }
#pragma GCC unroll 6
  for (int h = 0; h < heads; ++h) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      _mm512_storeu_ps(out + h * s.width + v * kLanes, sum[h][v]);
    }
  }
}

template <int vectors>
VECTOR_FUNCTION void add_columns(const Scratch& s, int pairs, int heads, std::int64_t column,
                                 RowsAhead& ahead, bool fresh, float* out) noexcept {
  int h = 0;
  // Eight at the end are twice four: two alone leave half of the sums' registers empty.
  for (; h + kTileHeads <= heads && heads - h != 8; h += kTileHeads) {
    add_tile<kTileHeads, vectors>(s, pairs, h, column, ahead, fresh, out);
  }
  for (; h + 4 <= heads; h += 4) add_tile<4, vectors>(s, pairs, h, column, ahead, fresh, out);
  if (h + 2 <= heads) {
    add_tile<2, vectors>(s, pairs, h, column, ahead, fresh, out);
    h += 2;
  }
  if (h < heads) add_tile<1, vectors>(s, pairs, h, column, ahead, fresh, out);
}

VECTOR_FUNCTION void add_rows(const Scratch& s, int count, int heads, RowsAhead ahead, bool fresh,
                              float* out) noexcept {
  const int pairs = (count + 1) / 2;
  std::int64_t c = 0;
  for (; c + kTileVectors * kLanes <= s.width; c += kTileVectors * kLanes) {
    add_columns<kTileVectors>(s, pairs, heads, c, ahead, fresh, out);
  }
  for (; c < s.width; c += kColumns) add_columns<2>(s, pairs, heads, c, ahead, fresh, out);
}

bool in_bf16(const RowFormat& format) noexcept {
  return format.form == RowForm::packed_row && format.rope % kColumns == 0;
}

// -------------------------------------------------------------------------------------- pieces
struct RowRange {
  int first = 0;
  int end = 0;
};

// part: of those of the task's rows.
VECTOR_FUNCTION void attend_rows(const AttendTask& task, RowRange rows, bool counts_sink,
                                 const Scratch& s, const AttendPart& part) noexcept {
  // The sink is a row without a value: it starts every maximum, and counts 1 of one total.
  std::fill_n(s.largest, s.vectors * kLanes, 0.0F);
  std::copy_n(task.sinks, task.heads, s.largest);
  std::fill_n(s.total, s.vectors * kLanes, counts_sink ? 1.0F : 0.0F);
  for (int first = rows.first; first < rows.end; first += kRows) {
    const int count = std::min(kRows, rows.end - first);
    for (int row = 0; row < count; row += kKeyRows) {
      unpack_rows(task, first, row, std::min(kKeyRows, count - row), s);
      score_rows(s, row);
    }
    weigh_rows(s, count, task.scale);
    const bool fresh = first == rows.first;
    add_rows(s, count, task.heads, rows_ahead(task, first + count), fresh, part.out);
  }
  std::copy_n(s.largest, task.heads, part.largest);
  std::copy_n(s.total, task.heads, part.total);
}

AttendPart head_of(const AttendPart& part, int head, std::int64_t width) noexcept {
  return {
      .out = part.out + head * width, .largest = part.largest + head, .total = part.total + head};
}

// Adds a head of one piece to that of those before it: both become relative to the larger maximum.
VECTOR_FUNCTION void join(const AttendPart& piece, std::int64_t width,
                          const AttendPart& joined) noexcept {
  const float most = std::max(*piece.largest, *joined.largest);
  const __m512 shrink = exponential(_mm512_set1_ps(*joined.largest - most));
  const __m512 weight = exponential(_mm512_set1_ps(*piece.largest - most));
  for (std::int64_t c = 0; c < width; c += kLanes) {
    const __m512 before = _mm512_mul_ps(_mm512_loadu_ps(joined.out + c), shrink);
    _mm512_storeu_ps(joined.out + c,
                     _mm512_fmadd_ps(_mm512_loadu_ps(piece.out + c), weight, before));
  }
  *joined.total =
      std::fma(*piece.total, _mm512_cvtss_f32(weight), *joined.total * _mm512_cvtss_f32(shrink));
  *joined.largest = most;
}

VECTOR_FUNCTION void normalise(float total, std::int64_t width, float* out) noexcept {
  const __m512 share = _mm512_set1_ps(1 / total);
  for (std::int64_t c = 0; c < width; c += kLanes) {
    _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(out + c), share));
  }
}

int rows_of_pieces(int count) noexcept {
  if (count <= kWholeRows) return count;
  const int blocks = (count + kRows - 1) / kRows;
  return std::max(kPieceBlocks, (blocks + kPiecesMax - 1) / kPiecesMax) * kRows;
}

VECTOR_FUNCTION void attend(const AttendTask& task) noexcept {
  Scratch s;
  layout(task.heads, task.format->width, task.scratch, &s);
  pack_queries(task, s);
  const int of_piece = rows_of_pieces(task.count);
  const AttendPart joined{.out = task.out, .largest = s.joined_largest, .total = s.joined_total};
  attend_rows(task, {0, of_piece}, /*counts_sink=*/true, s, joined);
  for (int first = of_piece; first < task.count; first += of_piece) {
    const RowRange rows{first, std::min(task.count, first + of_piece)};
    attend_rows(task, rows, /*counts_sink=*/false, s, s.piece);
    for (int head = 0; head < task.heads; ++head) {
      join(head_of(s.piece, head, s.width), s.width, head_of(joined, head, s.width));
    }
  }
  for (int head = 0; head < task.heads; ++head) {
    normalise(joined.total[head], s.width, task.out + head * s.width);
  }
}

VECTOR_FUNCTION void attend_piece(const AttendTask& task, bool first,
                                  const AttendPart& part) noexcept {
  RowsAhead ahead = rows_ahead(task, 0);
  while (ahead.count > 0) ahead.step();
  Scratch s;
  layout(task.heads, task.format->width, task.scratch, &s);
  pack_queries(task, s);
  attend_rows(task, {0, task.count}, first, s, part);
}

// Of one head.
VECTOR_FUNCTION void join_pieces(const AttendPart* pieces, int count, int width,
                                 float* out) noexcept {
  float largest = *pieces[0].largest;
  float total = *pieces[0].total;
  std::copy_n(pieces[0].out, width, out);
  const AttendPart joined{.out = out, .largest = &largest, .total = &total};
  for (int i = 1; i < count; ++i) join(pieces[i], width, joined);
  normalise(total, width, out);
}

}  // namespace

VECTOR_TARGET void attend_bf16_avx512(const AttendTask& task) noexcept {
  if (in_bf16(*task.format)) {
    attend(task);
  } else {
    kAvx512.attend(task);
  }
}

int piece_rows_bf16_avx512(const RowFormat& format, int count) noexcept {
  return in_bf16(format) ? rows_of_pieces(count) : count;
}

VECTOR_TARGET void attend_piece_bf16_avx512(const AttendTask& task, bool first,
                                            const AttendPart& part) noexcept {
  assert(in_bf16(*task.format));
  attend_piece(task, first, part);
}

VECTOR_TARGET void join_pieces_bf16_avx512(const AttendPart* pieces, int count, int width,
                                           float* out) noexcept {
  join_pieces(pieces, count, width, out);
}

std::int64_t attend_scratch_bf16_avx512(int heads, int width, int count) noexcept {
  return std::max(layout(heads, width, nullptr, nullptr),
                  kAvx512.attend_scratch(heads, width, count));
}

}  // namespace fathom::engine::cpu
