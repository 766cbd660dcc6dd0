// Indexer scores in AVX-512 VNNI: FP4 keys and queries as whole numbers of a unit.
//
// An FP4 value is a multiple of half its group's scale, a power of two, and the groups of a key
// have nearly the same scale: Hadamard's rotation spreads every key evenly over its entries. So a
// key becomes whole numbers of one unit, at most 12 · 4 if the scales differ by a factor of at most
// 4, and so does every head of a query. Their product is then exact, as it is in f32, where every
// partial sum is a multiple of the units' product and fits a mantissa; and powers of two commute
// with rounding:
//
//   score = (Σ_head (weight · unit of the head) · max(0, Σ q · k)) · unit of the key
//
// has the bits of the plain order. Keys and queries whose scales differ by more are left to the
// kernel of f32. Which way is taken depends on the key and the query alone.
//
// Lanes are keys: a tile of 64 keys is transposed once, four entries a lane, and meets four entries
// of a head in one instruction. Instructions multiply unsigned by signed bytes, so keys are stored
// with 48 added, and 48 · Σ q is taken off where a sum starts.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include <immintrin.h>

#include "engine/cpu/attention_kernels.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline
#define VECTOR_INLINE VECTOR_TARGET [[gnu::always_inline]] inline

namespace fathom::engine::cpu {
namespace {

#include "engine/cpu/avx512_transpose.h"

constexpr int kWidthMax = 128;  // V4's, and halves and quarters; others go to the kernel of f32
constexpr int kVectors = 4;     // × kLanes keys in a tile
constexpr int kTileKeys = kVectors * kLanes;  // 8 KiB as bytes, a quarter of an L1 cache
constexpr int kTileHeads = 4;                 // × kVectors dots at a time
constexpr int kOctavesMax = 2;                // between the largest and the smallest scale
constexpr int kGroupsMax = kWidthMax / kKeyGroup;
constexpr int kWholeMax = 12 << kOctavesMax;  // 12 halves are the largest FP4 value
constexpr int kBias = kWholeMax;

// A query as whole numbers: even entries first, then odd ones, as keys unpack.
struct WholeQuery {
  bool fits = false;
  std::int8_t* values = nullptr;   // [heads][width]
  std::int32_t* starts = nullptr;  // [heads] −kBias · Σ values
  float* weights = nullptr;        // [heads] times the head's unit
};

struct alignas(64) Tile {
  __m512i keys[kWidthMax / 4][kVectors];  // four entries a lane, in the order of a query
  float units[kTileKeys];
};

std::int64_t query_floats(int heads, int width) noexcept {
  return std::int64_t{heads} * (width / 4 + 2);
}

VECTOR_FUNCTION float power_of_two(int exponent) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

// Entries in the order of `values`; false if they are no whole numbers of a unit.
template <int width>
VECTOR_FUNCTION bool make_whole(const float* q, std::int8_t* values, std::int32_t* sum,
                                float* unit) noexcept {
  __m512 most = _mm512_setzero_ps();
  for (int i = 0; i < width; i += kLanes) {
    most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(q + i)));
  }
  const float largest = _mm512_reduce_max_ps(most);
  // The largest entry becomes 24 to 48. Exponents near the ends of f32 have no such unit.
  const int exponent = static_cast<int>(std::bit_cast<std::uint32_t>(largest) >> 23) - 127;
  if (largest != 0 && (exponent < -60 || exponent > 60)) return false;
  const bool upper_half = largest > 1.5F * power_of_two(exponent);
  const int shift = largest == 0 ? 0 : exponent - (upper_half ? 4 : 5);
  *unit = power_of_two(shift);
  const __m512 per_unit = _mm512_set1_ps(power_of_two(-shift));
  const __m512i evens =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  __mmask16 whole = 0xFFFF;
  __m512i total = _mm512_setzero_si512();
  for (int i = 0; i < width; i += 2 * kLanes) {
    const __m512 a = _mm512_mul_ps(_mm512_loadu_ps(q + i), per_unit);
    const __m512 b = _mm512_mul_ps(_mm512_loadu_ps(q + i + kLanes), per_unit);
    const __m512i low = _mm512_cvtps_epi32(a);
    const __m512i high = _mm512_cvtps_epi32(b);
    whole = _mm512_mask_cmp_ps_mask(whole, _mm512_cvtepi32_ps(low), a, _CMP_EQ_OQ);
    whole = _mm512_mask_cmp_ps_mask(whole, _mm512_cvtepi32_ps(high), b, _CMP_EQ_OQ);
    total = _mm512_add_epi32(total, _mm512_add_epi32(low, high));
    const __m512i even = _mm512_permutex2var_epi32(low, evens, high);
    const __m512i odd =
        _mm512_permutex2var_epi32(low, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(values + i / 2), _mm512_cvtepi32_epi8(even));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(values + (width + i) / 2),
                     _mm512_cvtepi32_epi8(odd));
  }
  if (whole != 0xFFFF) return false;  // and the sum might overflow
  *sum = _mm512_reduce_add_epi32(total);
  return true;
}

template <int width>
VECTOR_FUNCTION WholeQuery whole_query(const IndexTask& task, int i, float* memory) noexcept {
  WholeQuery query{.fits = true};
  query.values = reinterpret_cast<std::int8_t*>(memory);
  query.starts = reinterpret_cast<std::int32_t*>(memory + task.heads * width / 4);
  query.weights = memory + task.heads * (width / 4 + 1);
  for (int h = 0; h < task.heads && query.fits; ++h) {
    std::int32_t sum = 0;
    float unit = 0;
    query.fits = make_whole<width>(task.q + i * task.q_stride + h * width, query.values + h * width,
                                   &sum, &unit);
    query.starts[h] = -kBias * sum;
    query.weights[h] = task.weights[i * task.weights_stride + h] * unit;
  }
  return query;
}

// ----------------------------------------------------------------------------------------- keys
// Where the keys of a tile lie.
struct Addresses {
  const std::byte* keys[kTileKeys] = {};
};

// Keys [first, first + count); those behind repeat the last.
VECTOR_FUNCTION void find_tile(const RowTable& keys, std::int64_t first, int count,
                               Addresses* to) noexcept {
  std::int64_t page = first / keys.rows_per_page;
  std::int64_t slot = first % keys.rows_per_page;
  int i = 0;
  while (i < count) {
    const std::byte* key = keys.pages[page++] + keys.offset + slot * keys.format.bytes;
    const auto of_page =
        static_cast<int>(std::min<std::int64_t>(count - i, keys.rows_per_page - slot));
    for (const int end = i + of_page; i < end; ++i, key += keys.format.bytes) to->keys[i] = key;
    slot = 0;
  }
  for (; 0 < i && i < kTileKeys; ++i) to->keys[i] = to->keys[i - 1];
}

// What sixteen keys, the lanes, do to their entries.
struct Scales {
  bool fit = false;  // no key's differ by more than kOctavesMax
  __m512i
      shifts[kGroupsMax];  // of whole numbers of half the group's scale, to be those of the unit
  __m512 units;
};

// Four codes: those of fewer groups are repeated.
template <int width>
VECTOR_FUNCTION int scales_of(const std::byte* key) noexcept {
  std::uint32_t codes = 0;
  std::memcpy(&codes, key + width / 2, width / kKeyGroup);
  if (width / kKeyGroup == 1) codes |= codes << 8;
  if (width / kKeyGroup <= 2) codes |= codes << 16;
  return static_cast<int>(codes);
}

template <int width>
VECTOR_FUNCTION Scales compare_scales(const std::byte* const* keys) noexcept {
  const __m512i codes = _mm512_setr_epi32(
      scales_of<width>(keys[0]), scales_of<width>(keys[1]), scales_of<width>(keys[2]),
      scales_of<width>(keys[3]), scales_of<width>(keys[4]), scales_of<width>(keys[5]),
      scales_of<width>(keys[6]), scales_of<width>(keys[7]), scales_of<width>(keys[8]),
      scales_of<width>(keys[9]), scales_of<width>(keys[10]), scales_of<width>(keys[11]),
      scales_of<width>(keys[12]), scales_of<width>(keys[13]), scales_of<width>(keys[14]),
      scales_of<width>(keys[15]));
  __m512i largest = _mm512_max_epu8(codes, _mm512_rol_epi32(codes, 8));
  largest = _mm512_max_epu8(largest, _mm512_rol_epi32(largest, 16));
  const __m512i octaves = _mm512_sub_epi8(largest, codes);
  const __m512i exponents = _mm512_srli_epi32(largest, 24);
  // Near the ends of f32 there is no such unit.
  const __m512i moderate = _mm512_sub_epi32(exponents, _mm512_set1_epi32(67));
  Scales scales;
  scales.fit = _mm512_cmpgt_epu8_mask(octaves, _mm512_set1_epi8(kOctavesMax)) == 0 &&
               _mm512_cmpgt_epu32_mask(moderate, _mm512_set1_epi32(120)) == 0;
  scales.units = _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1 + kOctavesMax)), 23));
#pragma GCC unroll 4
  for (int g = 0; g < kGroupsMax; ++g) {
    const __m512i of_group = _mm512_and_si512(_mm512_srlv_epi32(octaves, _mm512_set1_epi32(8 * g)),
                                              _mm512_set1_epi32(0xFF));
    scales.shifts[g] = _mm512_sub_epi32(_mm512_set1_epi32(kOctavesMax), of_group);
  }
  return scales;
}

// Four entries a lane, from codes in the low halves of bytes. Biased by 12 they are not negative,
// so that a shift of all four lets nothing over into the next; the rest of the bias comes after.
VECTOR_FUNCTION __m512i unpack_codes(__m512i codes, __m512i shifts, __m512i rest) noexcept {
  const __m512i values = _mm512_broadcast_i32x4(
      _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  const __m512i low = _mm512_and_si512(codes, _mm512_set1_epi8(15));
  return _mm512_add_epi8(_mm512_sllv_epi32(_mm512_shuffle_epi8(values, low), shifts), rest);
}

// False if a key does not fit.
template <int width>
VECTOR_FUNCTION bool unpack_tile(const Addresses& from, Tile* tile) noexcept {
  for (int v = 0; v < kVectors; ++v) {
    const std::byte* const* keys = from.keys + v * kLanes;
    constexpr int kOfKey = width / 8;  // dwords
    constexpr auto kDwords = static_cast<__mmask16>((1U << kOfKey) - 1);
    const Scales scales = compare_scales<width>(keys);
    if (!scales.fit) return false;
    _mm512_store_ps(tile->units + v * kLanes, scales.units);
    __m512i pairs[kLanes];  // first of a key, then dword i of every key: an even and an odd entry a
                            // byte
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) pairs[i] = _mm512_maskz_loadu_epi32(kDwords, keys[i]);
    transpose(pairs);
#pragma GCC unroll 16
    for (int i = 0; i < kOfKey; ++i) {
      const __m512i shifts = scales.shifts[i / (kKeyGroup / 8)];
      const __m512i rest =
          _mm512_sub_epi8(_mm512_set1_epi8(kBias), _mm512_sllv_epi32(_mm512_set1_epi8(12), shifts));
      tile->keys[i][v] = unpack_codes(pairs[i], shifts, rest);
      tile->keys[kOfKey + i][v] = unpack_codes(_mm512_srli_epi16(pairs[i], 4), shifts, rest);
    }
  }
  return true;
}

// --------------------------------------------------------------------------------------- scores
// As _mm512_dpbusd_epi32, of which g++ 12 copies sums that start equal at every step.
VECTOR_FUNCTION void add_products(__m512i& sum, __m512i keys, __m512i q) noexcept {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(keys), "v"(q));
}

// Asks for a key of the next tile. Null is allowed. Not _mm_prefetch: g++ 12 drops calls of
// functions that do nothing else.
template <int width>
VECTOR_FUNCTION void prefetch(const std::byte* key) noexcept {
  asm volatile("prefetcht0 %0" : : "m"(*key));
  asm volatile("prefetcht0 %0" : : "m"(key[width / 2]));
}

// Dots of some heads with the keys of a tile: entry h · kVectors + v.
template <int heads>
struct Dots {
  static constexpr int kCount = heads * kVectors;

  __m512i of[kCount];
};

// Of heads from `head` on: where their sums start.
template <int heads>
VECTOR_INLINE void start(const WholeQuery& query, int head, Dots<heads>& dots) noexcept {
#pragma GCC unroll 16
  for (int i = 0; i < dots.kCount; ++i) {
    dots.of[i] = _mm512_set1_epi32(query.starts[head + i / kVectors]);
  }
}

// Four entries of every key and head.
template <int width, int heads>
VECTOR_INLINE void add_step(const Tile& tile, const std::int8_t* values, int step,
                            Dots<heads>& dots) noexcept {
  __m512i keys[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) keys[v] = tile.keys[step][v];
#pragma GCC unroll 4
  for (int h = 0; h < heads; ++h) {
    std::int32_t four = 0;
    std::memcpy(&four, values + h * width + 4 * step, sizeof four);
    const __m512i q = _mm512_set1_epi32(four);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) add_products(dots.of[h * kVectors + v], keys[v], q);
  }
}

// Asks for one of the next tile's keys every few steps: as many as heads in a group.
template <int width>
VECTOR_INLINE void ask_ahead(const std::byte* const* keys, int head, int step) noexcept {
  constexpr int kStepsPerKey = width / 4 / kTileHeads;
  if (keys == nullptr || step % kStepsPerKey != 0) return;
  prefetch<width>(keys[head + step / kStepsPerKey]);
}

// sums[v] += weight · max(0, dot). The sum stays in memory: registers are for dots.
VECTOR_INLINE void weigh(__m512i dot, float weight, __m512* sum) noexcept {
  __m512 value = _mm512_cvtepi32_ps(_mm512_max_epi32(dot, _mm512_setzero_si512()));
  asm volatile("vfmadd213ps %1, %2, %0\n\tvmovaps %0, %1"
               : "+v"(value), "+m"(*sum)
               : "v"(_mm512_set1_ps(weight)));
}

template <int heads>
VECTOR_INLINE void weigh(const WholeQuery& query, int head, const Dots<heads>& dots, int i,
                         __m512* sums) noexcept {
  weigh(dots.of[i], query.weights[head + i / kVectors], sums + i % kVectors);
}

// sums[v] += Σ weights[h] · max(0, q[h] · keys) over `count` heads, a multiple of kTileHeads, from
// the first on. Weighing takes other units of a core than products do: while the dots of some heads
// are summed, those of the heads before are weighed, one a step. By themselves they would cost as
// much as a twelfth of the products.
// `ahead`: keys to ask for, or null; spread over the steps, as only so many requests are under way
// at a time. Not inlined: among more code g++ 12 keeps the dots in memory.
template <int width>
VECTOR_TARGET [[gnu::noinline]] void add_heads(const WholeQuery& query, int count, const Tile& tile,
                                               const std::byte* const* ahead,
                                               __m512* sums) noexcept {
  constexpr int kSteps = width / 4;
  constexpr int kWeighed = std::min(kSteps, Dots<kTileHeads>::kCount);  // steps that weigh, too
  constexpr int kPerStep = Dots<kTileHeads>::kCount / kWeighed;
  Dots<kTileHeads> before;
  start(query, 0, before);
  for (int step = 0; step < kSteps; ++step) {
    ask_ahead<width>(ahead, 0, step);
    add_step<width>(tile, query.values, step, before);
  }
  int head = kTileHeads;
  for (; head < count; head += kTileHeads) {
    const std::int8_t* values = query.values + head * width;
    Dots<kTileHeads> dots;
    start(query, head, dots);
#pragma GCC unroll 16
    for (int step = 0; step < kWeighed; ++step) {
      ask_ahead<width>(ahead, head, step);
      add_step<width>(tile, values, step, dots);
#pragma GCC unroll 2
      for (int i = step * kPerStep; i < (step + 1) * kPerStep; ++i) {
        weigh(query, head - kTileHeads, before, i, sums);
      }
    }
    for (int step = kWeighed; step < kSteps; ++step) {
      ask_ahead<width>(ahead, head, step);
      add_step<width>(tile, values, step, dots);
    }
    before = dots;
  }
#pragma GCC unroll 16
  for (int i = 0; i < before.kCount; ++i) weigh(query, head - kTileHeads, before, i, sums);
}

// The same of one head.
template <int width>
VECTOR_TARGET [[gnu::noinline]] void add_head(const WholeQuery& query, int head, const Tile& tile,
                                              __m512* sums) noexcept {
  Dots<1> dots;
  start(query, head, dots);
  for (int step = 0; step < width / 4; ++step) {
    add_step<width>(tile, query.values + head * width, step, dots);
  }
#pragma GCC unroll 4
  for (int i = 0; i < dots.kCount; ++i) weigh(query, head, dots, i, sums);
}

template <int width>
VECTOR_FUNCTION void score_tile(const WholeQuery& query, int heads, const Tile& tile, int count,
                                const Addresses* next, float* scores) noexcept {
  __m512 sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = _mm512_setzero_ps();
  int h = heads / kTileHeads * kTileHeads;
  if (h > 0) add_heads<width>(query, h, tile, next != nullptr ? next->keys : nullptr, sums);
  for (int key = h; next != nullptr && key < kTileKeys; ++key) prefetch<width>(next->keys[key]);
  for (; h < heads; ++h) add_head<width>(query, h, tile, sums);
  for (int v = 0; v < kVectors; ++v) {
    const int left = count - v * kLanes;
    const auto mask = static_cast<__mmask16>(left >= kLanes ? 0xFFFFU
                                             : left <= 0    ? 0U
                                                            : (1U << left) - 1);
    const __m512 units = _mm512_load_ps(tile.units + v * kLanes);
    _mm512_mask_storeu_ps(scores + v * kLanes, mask, _mm512_mul_ps(sums[v], units));
  }
}

// One query over one tile in f32.
void score_in_f32(const IndexTask& task, int query, int first, int count) noexcept {
  IndexTask part = task;
  part.q += query * task.q_stride;
  part.weights += query * task.weights_stride;
  part.queries = 1;
  part.first += first;
  part.count = count;
  part.scores += query * task.scores_stride + first;
  kAvx512.index_scores(part);
}

template <int width>
VECTOR_FUNCTION void index_scores(const IndexTask& task) noexcept {
  WholeQuery queries[kIndexQueries];
  float* memory = task.scratch + kAvx512.index_scratch(task.heads, width);
  for (int i = 0; i < task.queries; ++i) {
    queries[i] = whole_query<width>(task, i, memory + i * query_floats(task.heads, width));
  }
  Tile tile;
  Addresses current;
  Addresses next;
  find_tile(*task.keys, task.first, std::min(kTileKeys, task.count), &next);
  for (int first = 0; first < task.count; first += kTileKeys) {
    const int count = std::min(kTileKeys, task.count - first);
    current = next;
    find_tile(*task.keys, task.first + first + count,
              std::min(kTileKeys, task.count - first - count), &next);
    const bool fits = unpack_tile<width>(current, &tile);
    for (int i = 0; i < task.queries; ++i) {
      if (fits && queries[i].fits) {
        score_tile<width>(queries[i], task.heads, tile, count, i == 0 ? &next : nullptr,
                          task.scores + i * task.scores_stride + first);
      } else {
        score_in_f32(task, i, first, count);
      }
    }
  }
}

}  // namespace

VECTOR_TARGET void index_scores_avx512_vnni(const IndexTask& task) noexcept {
  const RowFormat& format = task.keys->format;
  if (format.form != RowForm::packed_key) return kAvx512.index_scores(task);
  switch (format.width) {
    case kWidthMax:
      return index_scores<kWidthMax>(task);
    case kWidthMax / 2:
      return index_scores<kWidthMax / 2>(task);
    case kWidthMax / 4:
      return index_scores<kWidthMax / 4>(task);
    default:
      return kAvx512.index_scores(task);
  }
}

std::int64_t index_scratch_avx512_vnni(int heads, int width) noexcept {
  return kAvx512.index_scratch(heads, width) +
         kIndexQueries * query_floats(heads, std::min(width, kWidthMax));
}

}  // namespace fathom::engine::cpu
