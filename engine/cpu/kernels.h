// Kernels: what one thread computes, as a table that each instruction set fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/cache/rows.h"
#include "engine/cpu/rounded.h"
#include "engine/engine.h"
#include "engine/weights/tensor.h"

namespace fathom::engine::cpu {

// y[t][r] = x[t] · W[first_row + r] for r < rows, t < tokens.
struct MultiplyTask {
  const Tensor* weights = nullptr;
  std::int64_t first_row = 0;
  int rows = 0;
  const float* const* x = nullptr;            // [tokens] rows of weights->columns floats, or
  const std::byte* const* rounded = nullptr;  // the same in the form of weights->format
  int tokens = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  float* scratch = nullptr;  // [kUnpackedRows, columns rounded up to kBlock, and a kBlock]
};

// Weight rows that a kernel may unpack at a time: 16 rows of 4096 f32 are 256 KiB, a quarter of a
// usual L2 cache.
inline constexpr int kUnpackedRows = 16;

// Cached rows that a kernel unpacks at a time: 64 KiB of f32 at width 512, which stay near while
// all heads use them.
inline constexpr int kRowBlock = 32;

// One query: all `heads` over the same rows, in their order (oracle: attend).
struct AttendTask {
  const float* q = nullptr;  // [heads, width]
  int heads = 0;
  const std::byte* const* rows = nullptr;  // [count]
  int count = 0;
  const RowFormat* format = nullptr;
  const float* sinks = nullptr;  // [heads]
  float scale = 0;
  float* out = nullptr;      // [heads, width]
  float* scratch = nullptr;  // [attend_scratch(heads, width, count)]
};

// What a piece of a query's rows comes to: sums relative to each head's largest score.
struct AttendPart {
  float* out = nullptr;      // [heads, width]: Σ weight · value
  float* largest = nullptr;  // [heads]
  float* total = nullptr;    // [heads]: Σ weight
};

// The most pieces that a query's rows are cut into.
inline constexpr int kPiecesMax = 8;

// Multiplies by the orthonormal Hadamard matrix, in place; `width` is a power of two.
void hadamard(float* values, int width) noexcept;
void plain_finish_index_query(float* head, int width, bool rounds) noexcept;

// Of sets that cut nothing.
inline int one_piece(const RowFormat& /*format*/, int count) noexcept {
  return count;
}

// scores[i][j] = Σ_head weights[i][head] · max(0, q[i][head] · key j), heads ascending, for queries
// i and keys j in [first, first + count).
struct IndexTask {
  const float* q = nullptr;  // [queries] rows of heads · key width
  std::int64_t q_stride = 0;
  const float* weights = nullptr;  // [queries] rows of heads
  std::int64_t weights_stride = 0;
  int queries = 0;  // at most kIndexQueries
  int heads = 0;
  const RowTable* keys = nullptr;
  std::int64_t first = 0;
  int count = 0;
  float* scores = nullptr;  // [queries] rows of count
  std::int64_t scores_stride = 0;
  float* scratch = nullptr;  // [index_scratch(heads, key width)]
};

// Queries that share a tile of unpacked keys. Unpacking costs a tenth of one query's products; more
// queries would want more memory for scores, 1 MB each at a million tokens.
inline constexpr int kIndexQueries = 4;

// One candidate of a compressor's window: gate and value per channel, and the slot's constant.
struct Candidate {
  const float* value = nullptr;
  const float* gate = nullptr;
  const float* ape = nullptr;
};

inline constexpr int kCandidatesMax = 128;  // ratio 128; ratio 4 has 8
inline constexpr int kStreamsMax = 8;       // hc_mult; V4 has 4

struct Kernels {
  std::string_view name;
  // What `multiply` takes the activations as, for weights of a format.
  ActivationForm (*form)(Format weights) noexcept;
  void (*multiply)(const MultiplyTask& task) noexcept;
  // As plain_round, to the bit.
  void (*round)(ActivationForm form, const float* x, std::int64_t columns,
                std::byte* rounded) noexcept;
  // 1 / sqrt(mean(x²) + epsilon)
  double (*inverse_rms)(const float* x, int width, float epsilon) noexcept;
  // y = x · factor · weight; weight null: 1. May be in place.
  void (*scale)(const float* x, double factor, const float* weight, int width, float* y) noexcept;
  // y = Σ weights[i] · rows[i], in this order
  void (*combine)(const float* const* rows, const float* weights, int count, int width,
                  float* y) noexcept;
  // streams[b] = post[b] · y + Σ_a comb[a · n + b] · streams[a]
  void (*expand)(float* streams, const float* y, const float* post, const float* comb, int n,
                 int width) noexcept;
  // gate = silu(min(gate, limit)) · clamp(up, limit); limit infinite: no clamp
  void (*swiglu)(float* gate, const float* up, int width, float limit) noexcept;
  // out = Σ softmax(gate + ape) · value, per channel over the candidates
  void (*pool)(const Candidate* candidates, int count, int width, float* out) noexcept;
  void (*attend)(const AttendTask& task) noexcept;
  std::int64_t (*attend_scratch)(int heads, int width, int count) noexcept;  // in floats
  // Rows of each piece but the last into which `attend` cuts `count` rows; `count` if it does not.
  // Threads may take a piece each: attend_piece() of every piece and then join_pieces() have the
  // bits of attend().
  int (*piece_rows)(const RowFormat& format, int count) noexcept = one_piece;
  // `task`: the piece's rows alone; its `out` is not written. `first`: it is the first piece, which
  // counts the sink.
  void (*attend_piece)(const AttendTask& task, bool first,
                       const AttendPart& part) noexcept = nullptr;
  // One head of all pieces, in their order. out [width]
  void (*join_pieces)(const AttendPart* pieces, int count, int width,
                      float* out) noexcept = nullptr;
  void (*index_scores)(const IndexTask& task) noexcept;
  std::int64_t (*index_scratch)(int heads, int width) noexcept;  // in floats
  // rows: which scores are not below the threshold, NaN among them, in order; others of the first
  // `count` may be overwritten. Returns how many.
  int (*list_reaching)(const float* scores, int count, float threshold,
                       std::uint32_t* rows) noexcept;
  // An indexer query's head after rotation: hadamard(), then round_key() of formats.h if it rounds.
  // Every set has the same bits.
  void (*finish_index_query)(float* head, int width,
                             bool rounds) noexcept = plain_finish_index_query;
  // As rows.h load().
  void (*load)(const RowFormat& format, const std::byte* stored, float* row) noexcept;
};

extern const Kernels kReference;  // plain loops; what the others are held against
extern const Kernels kAvx2;       // AVX2, FMA, F16C
extern const Kernels kAvxVnni;    // and AVX-VNNI
extern const Kernels kAvx512;     // AVX-512 F, BW, DQ, VL
extern const Kernels kAvx512Vnni;
extern const Kernels kAvx512Bf16;  // and VNNI
extern const Kernels kAmx;         // AMX int8 and bf16, and all of the above
// The same, with sums in double, for comparisons.
extern const Kernels kAvx2Precise;
extern const Kernels kAvx512Precise;

// The form of sets that round no activations.
ActivationForm always_f32(Format weights) noexcept;

// These serve the precise sets too: f32 products and exponentials round more often than their sums.
void plain_scale(const float* x, double factor, const float* weight, int width, float* y) noexcept;
void plain_swiglu(float* gate, const float* up, int width, float limit) noexcept;

int plain_list_reaching(const float* scores, int count, float threshold,
                        std::uint32_t* rows) noexcept;

// All sets, best first.
std::span<const std::string_view> kernel_names() noexcept;

// Of a set's bits. Sessions that are kept name it, so that none goes on with bits of another kind.
// Raise it in select.cpp when a change alters what the set computes: kernel_revision_test says so.
int revision_of(std::string_view name) noexcept;

// `name`: one of the sets, or auto for the best this machine has: the first of kernel_names(),
// unless a short measurement finds another one clearly faster. Throws Error if it has it not.
const Kernels& select_kernels(std::string_view name, Activations activations);

// Whether this machine can run the set of that name.
bool machine_has(std::string_view name) noexcept;

}  // namespace fathom::engine::cpu
