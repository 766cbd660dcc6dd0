// Rows, compressor, indexer and attention of the CPU backend.
#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

#include "engine/cpu/cpu_backend.h"

namespace fathom::engine::cpu {
namespace {

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

// Integers in the order of the floats, also for infinities; NaN has its place too, so that a
// selection ends whatever the scores are.
std::uint32_t rank_of(float score) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0 ties with 0
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

// Scalar exponentials and conversions are many times a multiply-add.
constexpr std::int64_t kStoreWork = 16;

constexpr int kHadamardMax = 1024;  // index_head_dim; V4 has 128

}  // namespace

void rotate(float* head, int width, const double* table, int rope) noexcept {
  float* pairs = head + width - rope;
  for (int i = 0; i < rope; i += 2) {
    const double a = pairs[i];
    const double b = pairs[i + 1];
    pairs[i] = static_cast<float>(a * table[i] - b * table[i + 1]);
    pairs[i + 1] = static_cast<float>(a * table[i + 1] + b * table[i]);
  }
}

void rotate_back(float* head, int width, const double* table, int rope) noexcept {
  float* pairs = head + width - rope;
  for (int i = 0; i < rope; i += 2) {
    const double a = pairs[i];
    const double b = pairs[i + 1];
    pairs[i] = static_cast<float>(a * table[i] + b * table[i + 1]);
    pairs[i + 1] = static_cast<float>(b * table[i] - a * table[i + 1]);
  }
}

void hadamard(float* values, int width) noexcept {
  assert(std::has_single_bit(static_cast<unsigned>(width)) && width <= kHadamardMax);
  std::array<double, kHadamardMax> sums;
  std::copy_n(values, width, sums.begin());
  for (int half = 1; half < width; half *= 2) {
    for (int begin = 0; begin < width; begin += 2 * half) {
      for (int i = begin; i < begin + half; ++i) {
        const double a = sums[size(i)];
        const double b = sums[size(i + half)];
        sums[size(i)] = a + b;
        sums[size(i + half)] = a - b;
      }
    }
  }
  const double scale = 1 / std::sqrt(width);
  for (int i = 0; i < width; ++i) values[i] = static_cast<float>(sums[size(i)] * scale);
}

void CpuBackend::finish_queries(Matrix q, Rotation rotation) noexcept {
  const int width = config_.head_dim;
  const int heads = q.width / width;
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(q.rows * heads, width * 2, [&](int task, Worker&) {
    const int t = task / heads;
    float* head = q.row(t) + static_cast<std::int64_t>(task % heads) * width;
    kernels_.scale(head, kernels_.inverse_rms(head, width, eps), nullptr, width, head);
    rotate(head, width, rotation.row(t), rotation.rope);
  });
}

void CpuBackend::finish_index_queries(Matrix q, Rotation rotation, RowFormat keys) noexcept {
  const int width = config_.index_head_dim;
  const int heads = q.width / width;
  const bool rounds = keys.form == RowForm::packed_key;
  for_rows(q.rows * heads, width * kStoreWork, [&](int task, Worker& worker) {
    const int t = task / heads;
    float* head = q.row(t) + static_cast<std::int64_t>(task % heads) * width;
    rotate(head, width, rotation.row(t), rotation.rope);
    hadamard(head, width);
    if (!rounds) return;
    auto* packed = reinterpret_cast<std::byte*>(worker.scratch.data());
    store(keys, head, packed);
    load(keys, packed, head);
  });
}

void CpuBackend::store_rows(Matrix kv, std::span<const float> norm, Rotation rotation,
                            const WindowRows& window) noexcept {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(kv.rows, kv.width * kStoreWork, [&](int t, Worker&) {
    float* row = kv.row(t);
    kernels_.scale(row, kernels_.inverse_rms(row, kv.width, eps), norm.data(), kv.width, row);
    rotate(row, kv.width, rotation.row(t), rotation.rope);
    store(window.format, row, window.row(window.first_fresh + t));
  });
}

void CpuBackend::pool(const Pooling& pooling) noexcept {
  const int width = pooling.out.format.width;
  const int candidates = pooling.ratio == 4 ? 8 : pooling.ratio;
  for_rows(pooling.last_row - pooling.first_row,
           std::int64_t{width} * (candidates * 4 + kStoreWork), [&](int i, Worker& worker) {
             pool_row(pooling, pooling.first_row + i, worker.scratch.data());
           });
}

void CpuBackend::pool_row(const Pooling& pooling, int row, float* scratch) noexcept {
  const int ratio = pooling.ratio;
  const int width = pooling.out.format.width;
  // Ratio 4 overlaps: the window before gives the first half of its channels, this one the second.
  const int before = ratio == 4 ? ratio : 0;
  std::array<Candidate, kCandidatesMax> candidates;
  int count = 0;
  for (int position = std::max(0, row * ratio - before); position < (row + 1) * ratio; ++position) {
    const bool current = position >= row * ratio;
    const std::int64_t half = ratio == 4 && current ? width : 0;
    const bool fresh = position >= pooling.first_fresh;
    const std::int64_t slot =
        static_cast<std::int64_t>(position % pooling.slots.slots) * pooling.slots.width;
    const int t = position - pooling.first_fresh;
    candidates[size(count++)] = {
        .value = (fresh ? pooling.values.row(t) : pooling.slots.values + slot) + half,
        .gate = (fresh ? pooling.gates.row(t) : pooling.slots.gates + slot) + half,
        .ape = pooling.ape.data() +
               static_cast<std::int64_t>(position % ratio) * pooling.slots.width + half};
  }
  kernels_.pool(candidates.data(), count, width, scratch);
  const double norm =
      kernels_.inverse_rms(scratch, width, static_cast<float>(config_.rms_norm_eps));
  kernels_.scale(scratch, norm, pooling.norm.data(), width, scratch);
  rotate(scratch, width, pooling.rotation.row(row - pooling.first_row), pooling.rotation.rope);
  if (pooling.hadamard) hadamard(scratch, width);
  store(pooling.out.format, scratch, pooling.out.row(row));
}

void CpuBackend::select(const IndexQuery& query) noexcept {
  const int queries = query.q.rows;
  const auto visible = [&](int i) { return (query.first_position + i + 1) / 4; };
  const std::int64_t work = static_cast<std::int64_t>(query.q.width) * visible(queries - 1);
  if (queries >= 2 * pool_.threads()) {
    for_rows(queries, work, [&](int i, Worker& worker) {
      if (visible(i) > config_.index_topk) {
        score_keys(query, i, 0, visible(i), worker.scores.data(), worker);
      }
      choose(query, i, visible(i), worker);
    });
    return;
  }
  for (int i = 0; i < queries; ++i) {
    if (visible(i) > config_.index_topk) {
      const int blocks = (visible(i) + kRowBlock - 1) / kRowBlock;
      for_rows(blocks, static_cast<std::int64_t>(query.q.width) * kRowBlock,
               [&](int block, Worker& worker) {
                 const int first = block * kRowBlock;
                 score_keys(query, i, first, std::min(kRowBlock, visible(i) - first),
                            workers_[0].scores.data() + first, worker);
               });
    }
    choose(query, i, visible(i), workers_[0]);
  }
}

void CpuBackend::score_keys(const IndexQuery& query, int i, std::int64_t first, int count,
                            float* scores, Worker& worker) noexcept {
  kernels_.index_scores({.q = query.q.row(i),
                         .weights = query.weights.row(i),
                         .heads = config_.index_n_heads,
                         .keys = &query.keys,
                         .first = first,
                         .count = count,
                         .scores = scores,
                         .scratch = worker.scratch.data()});
}

// The rows that score above the K-th best, then as many of its equals as there is room for, lower
// rows first.
void CpuBackend::choose(const IndexQuery& query, int i, int visible, Worker& worker) noexcept {
  std::int32_t* rows = query.chosen.rows + static_cast<std::int64_t>(i) * query.chosen.stride;
  const int wanted = std::min(visible, config_.index_topk);
  query.chosen.counts[i] = wanted;
  if (visible == wanted) {
    for (int j = 0; j < wanted; ++j) rows[j] = j;
    return;
  }
  const auto begin = worker.ranks.begin();
  const auto end = begin + visible;
  std::transform(worker.scores.begin(), worker.scores.begin() + visible, begin, rank_of);
  std::nth_element(begin, begin + wanted - 1, end, std::greater<>());
  const std::uint32_t last = begin[wanted - 1];
  auto equals = static_cast<int>(
      wanted - std::count_if(begin, begin + wanted, [&](std::uint32_t r) { return r > last; }));
  int count = 0;
  for (int j = 0; count < wanted; ++j) {
    const std::uint32_t rank = rank_of(worker.scores[size(j)]);
    if (rank > last || (rank == last && equals-- > 0)) rows[count++] = j;
  }
}

int CpuBackend::address_rows(const Attention& attention, int query, Worker& worker) const noexcept {
  const int position = attention.first_position + query;
  const std::byte** rows = worker.rows.data();
  int count = 0;
  for (int p = std::max(0, position - attention.window.window + 1); p <= position; ++p) {
    rows[count++] = attention.window.row(p);
  }
  if (attention.ratio == 0) return count;
  if (attention.selection == nullptr) {
    const int visible = (position + 1) / attention.ratio;
    for (int j = 0; j < visible; ++j) rows[count++] = attention.rows.row(j);
    return count;
  }
  const Selection& selection = *attention.selection;
  const std::int32_t* chosen = selection.rows + static_cast<std::int64_t>(query) * selection.stride;
  for (int j = 0; j < selection.counts[query]; ++j) rows[count++] = attention.rows.row(chosen[j]);
  return count;
}

void CpuBackend::attend(const Attention& attention) noexcept {
  const int width = config_.head_dim;
  const int heads = config_.num_attention_heads;
  const int queries = attention.q.rows;
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));

  // Rows are unpacked once per task, so a task takes all heads unless threads would idle.
  const int groups = queries >= 2 * pool_.threads() ? 1 : std::min(heads, pool_.threads());
  const int per_group = (heads + groups - 1) / groups;
  const std::int64_t rows = std::min(attention.first_position + 1, attention.window.window) +
                            (attention.ratio != 0 ? attention.first_position / attention.ratio : 0);
  for_rows(queries * groups, rows * per_group * width * 2, [&](int task, Worker& worker) {
    const int query = task / groups;
    const int first = task % groups * per_group;
    const int count = std::min(per_group, heads - first);
    if (count <= 0) return;
    const std::int64_t offset = static_cast<std::int64_t>(first) * width;
    float* out = attention.out.row(query) + offset;
    kernels_.attend({.q = attention.q.row(query) + offset,
                     .heads = count,
                     .rows = worker.rows.data(),
                     .count = address_rows(attention, query, worker),
                     .format = &attention.window.format,
                     .sinks = attention.sinks.data() + first,
                     .scale = scale,
                     .out = out,
                     .scratch = worker.scratch.data()});
    for (int head = 0; head < count; ++head) {
      rotate_back(out + static_cast<std::int64_t>(head) * width, width,
                  attention.rotation.row(query), attention.rotation.rope);
    }
  });
}

}  // namespace fathom::engine::cpu
