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
// pair by pair, in one accumulator. Blocks are counted from the query's first row. How heads are
// split over tasks does not show.
#include <algorithm>
#include <bit>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/attention_kernels.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_FUNCTION \
  [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]] inline

namespace fathom::engine::cpu {
namespace {

constexpr int kLanes = 16;
// Rows of a block. 96 rows of width 512 as values, 64 heads of queries and outputs are 300 KiB,
// within an L2 cache of 1 MiB.
constexpr int kRows = 96;
// Rows whose keys are there at a time: a multiple of every tile, and kRows one of it.
constexpr int kKeyRows = 12;
constexpr int kTileVectors = 4;  // × kTileHeads accumulators, and the operands, fill the registers
constexpr int kTileHeads = 6;
constexpr int kColumns = 32;  // bf16 in a vector
constexpr int kLineBytes = 64;
// Products of 48 pairs of rows with 32 heads of width 512 take 2300 steps; the next 96 rows of 583
// bytes are 960 lines.
constexpr int kPairsPerLine = 2;

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
};

std::int64_t layout(int heads, int width, float* memory, Scratch* scratch) noexcept {
  const int vectors = (heads + kLanes - 1) / kLanes;
  const std::int64_t lanes = std::int64_t{vectors} * kLanes;
  const std::int64_t sizes[] = {lanes * width / 2, std::int64_t{kKeyRows} * width / 2,
                                std::int64_t{kRows} * width / 2, kRows * lanes, kRows * lanes / 2};
  std::int64_t total = kLanes;  // to reach a cache line
  for (const std::int64_t size : sizes) total += size;
  total += 3 * lanes;
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

VECTOR_FUNCTION __m512i bits(__m512bh x) noexcept {
  __m512i integers;
  std::memcpy(&integers, &x, sizeof integers);
  return integers;
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
// As ue8m0_to_f32, but inline: 2^(code - 127), of which 2^-127 is a subnormal and 255 is NaN.
VECTOR_FUNCTION float power_of_two(std::uint32_t code) noexcept {
  return std::bit_cast<float>(code == 0 ? 0x00400000U : code == 255 ? 0x7FC00000U : code << 23);
}

// 32 FP8 codes times 2^(code - 127), whatever they are. E4M3 has the fields of a half with another
// bias, so the value as a half is 2⁸ too small.
VECTOR_FUNCTION __m512i any_to_bf16(__m256i codes, std::uint32_t code) noexcept {
  const __m512i wide = _mm512_cvtepu8_epi16(codes);
  const __m512i magnitudes = _mm512_and_si512(wide, _mm512_set1_epi16(0x7F));
  const __m512i halves = _mm512_slli_epi16(magnitudes, 7);
  const __m512 factor = _mm512_set1_ps(256.0F * power_of_two(code));
  const __m512 low = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_castsi512_si256(halves)), factor);
  const __m512 high = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)), factor);
  const __m512i values = bits(_mm512_cvtne2ps_pbh(high, low));
  constexpr int kOrOfAnd = 0xF8;  // a | (b & c)
  const __m512i with_sign =
      _mm512_ternarylogic_epi32(values, _mm512_slli_epi16(wide, 8),
                                _mm512_set1_epi16(static_cast<std::int16_t>(0x8000)), kOrOfAnd);
  const __mmask32 nan = _mm512_cmpeq_epi16_mask(magnitudes, _mm512_set1_epi16(0x7F));
  return _mm512_mask_mov_epi16(with_sign, nan, _mm512_set1_epi16(0x7FC0));
}

// Whether all codes are neither zero, subnormal nor NaN.
VECTOR_FUNCTION bool are_normal(__m256i codes) noexcept {
  const __m256i magnitudes = _mm256_add_epi8(codes, codes);  // doubled, so without the sign
  const __m256i above_least = _mm256_sub_epi8(magnitudes, _mm256_set1_epi8(2 * 8));
  const auto most = static_cast<std::int8_t>(2 * (0x7E - 8));
  return _mm256_cmpgt_epu8_mask(above_least, _mm256_set1_epi8(most)) == 0;
}

// 32 FP8 codes times 2^(code - 127). Mostly by whole numbers: the fields of a normal E4M3 are those
// of a bf16 but for the bias, and a power of two is added to the exponent.
VECTOR_FUNCTION __m512i codes_to_bf16(const std::byte* p, std::uint32_t code) noexcept {
  const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const bool moderate = code - 27 <= 200;
  if (!moderate || !are_normal(codes)) return any_to_bf16(codes, code);
  constexpr int kMantissa = 7;  // bits of bf16's, whose bias is 127; E4M3 has 3 and 7
  constexpr int kFields =
      0x87F0;  // of E4M3, where bf16 has them: sign, exponent's low bits, mantissa
  const __m512i fields = _mm512_and_si512(_mm512_slli_epi16(_mm512_cvtepi8_epi16(codes), 4),
                                          _mm512_set1_epi16(static_cast<std::int16_t>(kFields)));
  const int exponent = static_cast<int>(code) - 127 + (127 - 7);
  return _mm512_add_epi16(fields,
                          _mm512_set1_epi16(static_cast<std::int16_t>(exponent << kMantissa)));
}

// Columns [c, c + 32) of a packed row.
VECTOR_FUNCTION __m512i load_columns(const RowFormat& format, const std::byte* row,
                                     int c) noexcept {
  const int plain = format.width - format.rope;
  if (c >= plain) return _mm512_loadu_si512(row + plain + 2 * static_cast<std::int64_t>(c - plain));
  const std::byte scale = row[plain + 2 * format.rope + c / kKvGroup];
  return codes_to_bf16(row + c, std::to_integer<std::uint32_t>(scale));
}

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
  const int lanes = to.vectors * kLanes;
  std::memset(to.queries, 0, static_cast<std::size_t>(lanes * to.width) * sizeof(std::uint16_t));
  for (int head = 0; head < task.heads; ++head) {
    const float* q = task.q + head * to.width;
    std::uint16_t* out =
        to.queries + (head / kLanes * to.width / 2 * kLanes + head % kLanes) * std::int64_t{2};
    alignas(64) std::int32_t pairs[kLanes];
    for (int c = 0; c < to.width; c += kColumns) {
      const __m512 low = _mm512_loadu_ps(q + c);
      const __m512 high = _mm512_loadu_ps(q + c + kLanes);
      _mm512_store_si512(pairs, bits(_mm512_cvtne2ps_pbh(high, low)));
      for (int i = 0; i < kLanes; ++i) {
        std::memcpy(out + (c / 2 + i) * kLanes * 2, pairs + i, sizeof *pairs);
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
// The next block's rows. Chosen rows lie anywhere: without asking ahead, each would cost the
// memory's whole latency. Asking for some at once would wait too, as only so many requests are
// under way at a time; so they are spread over the products, a line at a time.
struct RowsAhead {
  const std::byte* const* rows;
  int count;
  std::int64_t bytes;
  std::int64_t at;

  VECTOR_FUNCTION void step() noexcept {
    if (count <= 0) return;
    // Not _mm_prefetch: g++ 12 drops calls of functions that do nothing else.
    asm volatile("prefetcht1 %0" : : "m"((*rows)[at]));
    at += kLineBytes;
    if (at < bytes) return;
    at = 0;
    ++rows;
    --count;
  }
};

// out[h] = shrink[h] · out[h] + Σ weights · values, for 16 · vectors columns.
template <int heads, int vectors>
VECTOR_FUNCTION void add_tile(const Scratch& s, int pairs, int head, std::int64_t column,
                              RowsAhead& ahead, float* out) noexcept {
  const std::uint16_t* values = s.values + 2 * column;
  const std::uint16_t* weights = s.weights + 2 * head;
  const std::int64_t stride = std::int64_t{s.vectors} * kLanes * 2;
  out += head * s.width + column;
  __m512 sum[heads][vectors];
#pragma GCC unroll 6
  for (int h = 0; h < heads; ++h) {
    const __m512 shrink = _mm512_set1_ps(s.shrink[head + h]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      sum[h][v] = _mm512_mul_ps(_mm512_loadu_ps(out + h * s.width + v * kLanes), shrink);
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
                                 RowsAhead& ahead, float* out) noexcept {
  int h = 0;
  // Eight at the end are twice four: two alone leave half of the sums' registers empty.
  for (; h + kTileHeads <= heads && heads - h != 8; h += kTileHeads) {
    add_tile<kTileHeads, vectors>(s, pairs, h, column, ahead, out);
  }
  for (; h + 4 <= heads; h += 4) add_tile<4, vectors>(s, pairs, h, column, ahead, out);
  if (h + 2 <= heads) {
    add_tile<2, vectors>(s, pairs, h, column, ahead, out);
    h += 2;
  }
  if (h < heads) add_tile<1, vectors>(s, pairs, h, column, ahead, out);
}

VECTOR_FUNCTION void add_rows(const Scratch& s, int count, int heads, RowsAhead ahead,
                              float* out) noexcept {
  const int pairs = (count + 1) / 2;
  std::int64_t c = 0;
  for (; c + kTileVectors * kLanes <= s.width; c += kTileVectors * kLanes) {
    add_columns<kTileVectors>(s, pairs, heads, c, ahead, out);
  }
  for (; c < s.width; c += kColumns) add_columns<2>(s, pairs, heads, c, ahead, out);
}

bool in_bf16(const RowFormat& format) noexcept {
  return format.form == RowForm::packed_row && format.rope % kColumns == 0;
}

VECTOR_FUNCTION void attend(const AttendTask& task) noexcept {
  Scratch s;
  layout(task.heads, task.format->width, task.scratch, &s);
  pack_queries(task, s);
  // The sink is a row without a value: it starts the maximum and counts 1 of the total.
  std::fill_n(s.largest, s.vectors * kLanes, 0.0F);
  std::copy_n(task.sinks, task.heads, s.largest);
  std::fill_n(s.total, s.vectors * kLanes, 1.0F);
  std::fill_n(task.out, task.heads * s.width, 0.0F);
  for (int first = 0; first < task.count; first += kRows) {
    const int count = std::min(kRows, task.count - first);
    for (int row = 0; row < count; row += kKeyRows) {
      unpack_rows(task, first, row, std::min(kKeyRows, count - row), s);
      score_rows(s, row);
    }
    weigh_rows(s, count, task.scale);
    const int next = first + count;
    const RowsAhead ahead{.rows = task.rows + next,
                          .count = std::min(kRows, task.count - next),
                          .bytes = task.format->bytes,
                          .at = 0};
    add_rows(s, count, task.heads, ahead, task.out);
  }
  for (int h = 0; h < task.heads; ++h) {
    const __m512 share = _mm512_set1_ps(1 / s.total[h]);
    float* out = task.out + h * s.width;
    for (std::int64_t c = 0; c < s.width; c += kLanes) {
      _mm512_storeu_ps(out + c, _mm512_mul_ps(_mm512_loadu_ps(out + c), share));
    }
  }
}

}  // namespace

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]] void
attend_bf16_avx512(const AttendTask& task) noexcept {
  if (in_bf16(*task.format)) {
    attend(task);
  } else {
    kAvx512.attend(task);
  }
}

std::int64_t attend_scratch_bf16_avx512(int heads, int width, int count) noexcept {
  return std::max(layout(heads, width, nullptr, nullptr),
                  kAvx512.attend_scratch(heads, width, count));
}

}  // namespace fathom::engine::cpu
