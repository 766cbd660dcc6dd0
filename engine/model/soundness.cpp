// Looks for numbers that are not finite in the buffers of a pass, in the order they were computed.
#include "engine/model/soundness.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <optional>
#include <span>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/model/parts.h"

namespace fathom::engine {
namespace {

// What one operation left.
struct Result {
  const char* operation = nullptr;
  ConstMatrix values;
};

// Of a fixed size: a pass takes nothing from the heap.
class Results {
 public:
  void add(const char* operation, ConstMatrix values) noexcept {
    assert(count_ < list_.size());
    list_[count_++] = {operation, values};
  }
  std::span<const Result> all() const noexcept { return std::span(list_).first(count_); }

 private:
  std::array<Result, 16> list_;  // attention leaves 12
  std::size_t count_ = 0;
};

// 0 · x is NaN where x is not finite, and NaN stays in a sum: no branch per number, and sixteen
// sums side by side, so that the check is one pass over the values at the speed of the cache.
bool is_finite(std::span<const float> values) noexcept {
  constexpr std::size_t kSums = 16;
  float sums[kSums] = {};
  std::size_t i = 0;
  for (; i + kSums <= values.size(); i += kSums) {
    for (std::size_t k = 0; k < kSums; ++k) sums[k] += values[i + k] * 0.0F;
  }
  for (; i < values.size(); ++i) sums[0] += values[i] * 0.0F;
  return std::ranges::all_of(sums, [](float sum) { return sum == 0; });
}

std::span<const float> row_of(const ConstMatrix& values, int row) noexcept {
  return {values.row(row), static_cast<std::size_t>(values.width)};
}

std::optional<int> first_bad_row(const ConstMatrix& values) noexcept {
  for (int row = 0; row < values.rows; ++row) {
    if (!is_finite(row_of(values, row))) return row;
  }
  return std::nullopt;
}

int position_of(const Pass& pass, int row) noexcept {
  for (const Sequence& sequence : pass.sequences) {
    if (row < sequence.first_row + sequence.rows) {
      return sequence.first_position() + row - sequence.first_row;
    }
  }
  return row;
}

[[noreturn]] void refuse(const Pass& pass, const Result& result, int row) {
  const auto values = row_of(result.values, row);
  const bool nan = std::ranges::any_of(values, [](float v) { return std::isnan(v); });
  throw Error(
      fmt::format("{} gave {} at position {}, expected finite numbers; the weights may be "
                  "damaged",
                  result.operation, nan ? "NaN" : "infinity", position_of(pass, row)));
}

void refuse_first(const Pass& pass, const Results& results) {
  for (const Result& result : results.all()) {
    if (const auto row = first_bad_row(result.values)) refuse(pass, result, *row);
  }
}

void add_indexer(const Pass& pass, Results& results) {
  const ModelConfig& c = pass.config;
  Workspace& space = pass.space;
  const int width = 2 * c.index_head_dim;
  results.add("attn.indexer.compressor.wkv", pass.matrix(space.index_values, width));
  results.add("attn.indexer.compressor.wgate", pass.matrix(space.index_gates, width));
  if (!must_choose(pass)) return;
  results.add("attn.indexer.weights_proj", pass.matrix(space.index_weights, c.index_n_heads));
}

// What attention leaves that a later part may not show: half-filled windows, and scores that only
// choose.
void add_hidden(const Pass& pass, const BlockWeights& weights, Results& results) {
  if (weights.compressor) {
    const int width = static_cast<int>(weights.compressor->wkv.rows);
    results.add("attn.compressor.wkv", pass.matrix(pass.space.values, width));
    results.add("attn.compressor.wgate", pass.matrix(pass.space.gates, width));
  }
  if (weights.indexer) add_indexer(pass, results);
}

Results attention_results(const Pass& pass, const BlockWeights& weights) {
  const ModelConfig& c = pass.config;
  Workspace& space = pass.space;
  const int heads = c.num_attention_heads * c.head_dim;
  Results results;
  results.add("hc_attn", pass.matrix(space.x, c.hidden_size));
  results.add("attn.wq_a", pass.matrix(space.qr, c.q_lora_rank));
  results.add("attn.wkv", pass.matrix(space.kv, c.head_dim));
  add_hidden(pass, weights, results);
  results.add("attn.wq_b", pass.matrix(space.q, heads));
  results.add("attention over the cached rows", pass.matrix(space.heads, heads));
  results.add("attn.wo_a", pass.matrix(space.groups, c.o_groups * c.o_lora_rank));
  results.add("attn.wo_b", pass.matrix(space.y, c.hidden_size));
  return results;
}

// The streams take a part's output through these.
bool mixing_is_finite(const Pass& pass) noexcept {
  const int n = pass.config.hc_mult;
  return !first_bad_row(pass.matrix(pass.space.post, n)) &&
         !first_bad_row(pass.matrix(pass.space.comb, n * n));
}

ConstMatrix output(const Pass& pass) noexcept {
  return pass.matrix(pass.space.y, pass.config.hidden_size);
}

}  // namespace

void expect_sound_attention(const Pass& pass, const BlockWeights& weights) {
  bool sound = !first_bad_row(output(pass)) && mixing_is_finite(pass);
  // Damaged weights show in every row alike: one is enough where looking at all would cost time.
  Results hidden_results;
  add_hidden(pass, weights, hidden_results);
  for (const Result& hidden : hidden_results.all()) {
    sound = sound && is_finite(row_of(hidden.values, pass.rows() - 1));
  }
  if (sound) return;
  refuse_first(pass, attention_results(pass, weights));
  throw Error("hc_attn gave no finite numbers; the weights may be damaged");
}

void expect_sound_index_queries(const Pass& pass, ConstMatrix queries) {
  const int last = pass.rows() - 1;
  if (!is_finite(row_of(queries, last))) refuse(pass, {"attn.indexer.wq_b", queries}, last);
}

void expect_sound_experts(const Pass& pass) {
  if (!first_bad_row(output(pass)) && mixing_is_finite(pass)) return;
  const ModelConfig& c = pass.config;
  Results results;
  results.add("hc_ffn", pass.matrix(pass.space.x, c.hidden_size));
  results.add("ffn.gate", pass.matrix(pass.space.router, c.n_routed_experts));
  results.add("ffn.experts", output(pass));
  refuse_first(pass, results);
  throw Error("hc_ffn gave no finite numbers; the weights may be damaged");
}

}  // namespace fathom::engine
