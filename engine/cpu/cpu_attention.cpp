// Rows, compressor, indexer and attention of the CPU backend.
#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <numeric>

#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/top_rows.h"
#include "engine/limits.h"
#include "engine/weights/formats.h"

namespace fathom::engine::cpu {
namespace {

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

// Scalar exponentials and conversions are many times a multiply-add.
constexpr std::int64_t kStoreWork = 16;
constexpr std::int64_t kFinishWork = 4;

constexpr int kHadamardMax = 1024;  // index_head_dim; V4 has 128
static_assert(kIndexHeadDimMax <= kHadamardMax);

// Where the index-th item of all tasks is: which task's, and which of its.
struct Place {
  std::size_t task = 0;
  int item = 0;
};

// `items(task)`: how many the task has.
template <class Task, class Items>
Place place_of(std::span<const Task> tasks, int index, Items&& items) noexcept {
  Place place{.task = 0, .item = index};
  while (place.item >= items(tasks[place.task])) place.item -= items(tasks[place.task++]);
  return place;
}

template <class Task, class Items>
int count_items(std::span<const Task> tasks, Items&& items) noexcept {
  int count = 0;
  for (const Task& task : tasks) count += items(task);
  return count;
}

int queries_of(const Attention& attention) noexcept {
  return attention.q.rows;
}

// A query whose rows may be cut into pieces.
struct CutQuery {
  const Attention* attention = nullptr;
  int query = 0;
  int rows = 0;
  int piece_rows = 0;

  int pieces() const noexcept { return (rows + piece_rows - 1) / piece_rows; }
};

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

void plain_finish_index_query(float* head, int width, bool rounds) noexcept {
  hadamard(head, width);
  if (rounds) round_key({head, size(width)});
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
  for_rows(q.rows * heads, width * kFinishWork, [&](int task, Worker&) {
    const int t = task / heads;
    float* head = q.row(t) + static_cast<std::int64_t>(task % heads) * width;
    rotate(head, width, rotation.row(t), rotation.rope);
    kernels_.finish_index_query(head, width, rounds);
  });
}

void CpuBackend::store_rows(Matrix kv, std::span<const float> norm, Rotation rotation,
                            const RowFormat& format, std::byte* stored) noexcept {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(kv.rows, kv.width * kStoreWork, [&](int t, Worker&) {
    float* row = kv.row(t);
    kernels_.scale(row, kernels_.inverse_rms(row, kv.width, eps), norm.data(), kv.width, row);
    rotate(row, kv.width, rotation.row(t), rotation.rope);
    store(format, row, stored + t * format.bytes);
  });
}

void CpuBackend::pool(std::span<const Pooling> poolings) noexcept {
  const int width = poolings.front().out.format.width;
  const int ratio = poolings.front().ratio;
  const int candidates = ratio == 4 ? 8 : ratio;
  const auto rows = [](const Pooling& pooling) { return pooling.last_row - pooling.first_row; };
  for_rows(count_items(poolings, rows), std::int64_t{width} * (candidates * 4 + kStoreWork),
           [&](int i, Worker& worker) {
             const auto [task, row] = place_of(poolings, i, rows);
             const Pooling& pooling = poolings[task];
             pool_row(pooling, pooling.first_row + row, worker.scratch.data());
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

// A session whose few queries see more keys than a thread's share of all is split by keys; the
// queries of the others go to a thread whole, some neighbours together.
void CpuBackend::select(std::span<const IndexQuery> queries) noexcept {
  const auto work = [](const IndexQuery& query) {
    return std::int64_t{query.q.rows} * visible_keys(query, query.q.rows - 1);
  };
  std::int64_t total = 0;
  std::int64_t largest = 0;
  int rows = 0;
  for (const IndexQuery& query : queries) {
    total += work(query);
    largest = std::max<std::int64_t>(largest, visible_keys(query, query.q.rows - 1));
    rows += query.q.rows;
  }
  const int shares = 2 * pool_.threads();
  const int together = std::clamp(rows / pool_.threads(), 1, kIndexQueries);
  const auto whole_groups = [&](const IndexQuery& query) {
    const bool split = query.q.rows < shares && work(query) * shares > total;
    return split ? 0 : (query.q.rows + together - 1) / together;
  };
  for (const IndexQuery& query : queries) {
    if (whole_groups(query) == 0) select_by_keys(query);
  }
  for_rows(count_items(queries, whole_groups), queries.front().q.width * largest * together,
           [&](int i, Worker& worker) {
             const auto [task, group] = place_of(queries, i, whole_groups);
             const int first = group * together;
             select_queries(queries[task],
                            {first, std::min(together, queries[task].q.rows - first)}, worker);
           });
}

void CpuBackend::select_queries(const IndexQuery& query, Range queries, Worker& worker) noexcept {
  const int keys = visible_keys(query, queries.first + queries.count - 1);
  score_keys(query, queries, {0, keys}, worker.scores.data(), worker);
  choose(query, queries, worker.scores.data(), worker);
}

void CpuBackend::select_by_keys(const IndexQuery& query) noexcept {
  for (int first_query = 0; first_query < query.q.rows; first_query += kIndexQueries) {
    const Range some{first_query, std::min(kIndexQueries, query.q.rows - first_query)};
    const int keys = visible_keys(query, some.first + some.count - 1);
    const int per_task = keys_per_task(keys);
    float* scores = workers_[0].scores.data();
    for_rows((keys + per_task - 1) / per_task,
             static_cast<std::int64_t>(query.q.width) * per_task * some.count,
             [&](int task, Worker& worker) {
               const int first = task * per_task;
               score_keys(query, some, {first, std::min(per_task, keys - first)}, scores, worker);
             });
    choose(query, some, scores, workers_[0]);
  }
}

// Several tasks a thread, but each worth rounding a query to whole numbers.
int CpuBackend::keys_per_task(int keys) const noexcept {
  constexpr int kKeysMin = 512;
  constexpr int kKeysMax = 4096;
  const int share = (keys / (4 * pool_.threads()) + 63) / 64 * 64;
  return std::clamp(share, kKeysMin, kKeysMax);
}

int CpuBackend::visible_keys(const IndexQuery& query, int i) noexcept {
  return (query.first_position + i + 1) / 4;
}

// scores: a row for each of `queries`, as long as the keys that the last of them sees.
void CpuBackend::score_keys(const IndexQuery& query, Range queries, Range keys, float* scores,
                            Worker& worker) noexcept {
  const int stride = visible_keys(query, queries.first + queries.count - 1);
  if (stride <= config_.index_topk) return;
  kernels_.index_scores({.q = query.q.row(queries.first),
                         .q_stride = query.q.stride,
                         .weights = query.weights.row(queries.first),
                         .weights_stride = query.weights.stride,
                         .queries = queries.count,
                         .heads = config_.index_n_heads,
                         .keys = &query.keys,
                         .first = keys.first,
                         .count = keys.count,
                         .scores = scores + keys.first,
                         .scores_stride = stride,
                         .scratch = worker.scratch.data()});
}

void CpuBackend::choose(const IndexQuery& query, Range queries, const float* scores,
                        Worker& worker) noexcept {
  const int stride = visible_keys(query, queries.first + queries.count - 1);
  for (int i = queries.first; i < queries.first + queries.count; ++i) {
    std::int32_t* rows = query.chosen.rows + static_cast<std::int64_t>(i) * query.chosen.stride;
    const int visible = visible_keys(query, i);
    const int wanted = std::min(visible, config_.index_topk);
    query.chosen.counts[i] = wanted;
    if (visible == wanted) {
      std::iota(rows, rows + wanted, 0);
    } else {
      top_rows(kernels_, scores + static_cast<std::int64_t>(i - queries.first) * stride, visible,
               wanted, worker.ranks.data(), rows);
    }
  }
}

int CpuBackend::window_rows(const Attention& attention, int query) noexcept {
  return std::min(attention.first_position + query + 1, attention.window.window);
}

// Of its window, then the compressed ones.
int CpuBackend::rows_seen(const Attention& attention, int query) noexcept {
  const int in_window = window_rows(attention, query);
  if (attention.ratio == 0) return in_window;
  if (attention.selection.rows != nullptr) return in_window + attention.selection.counts[query];
  return in_window + (attention.first_position + query + 1) / attention.ratio;
}

// `rows`: some of rows_seen().
void CpuBackend::address_rows(const Attention& attention, int query, Range rows,
                              Worker& worker) noexcept {
  const int in_window = window_rows(attention, query);
  const int oldest = attention.first_position + query + 1 - in_window;
  const std::byte** to = worker.rows.data();
  const int end = rows.first + rows.count;
  int i = rows.first;
  for (; i < std::min(in_window, end); ++i) *to++ = attention.window.row(oldest + i);
  if (attention.selection.rows == nullptr) {
    for (; i < end; ++i) *to++ = attention.rows.row(i - in_window);
    return;
  }
  const std::int32_t* chosen = attention.selection.from(query).rows;
  for (; i < end; ++i) *to++ = attention.rows.row(chosen[i - in_window]);
}

AttendTask CpuBackend::attend_task(const Attention& attention, int query, Range heads, Range rows,
                                   Worker& worker) const noexcept {
  const int width = config_.head_dim;
  const std::int64_t offset = static_cast<std::int64_t>(heads.first) * width;
  address_rows(attention, query, rows, worker);
  return {.q = attention.q.row(query) + offset,
          .heads = heads.count,
          .rows = worker.rows.data(),
          .count = rows.count,
          .format = &attention.window.format,
          .sinks = attention.sinks.data() + heads.first,
          .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width))),
          .out = attention.out.row(query) + offset,
          .scratch = worker.scratch.data()};
}

void CpuBackend::attend(std::span<const Attention> attentions) noexcept {
  const int heads = config_.num_attention_heads;
  const int queries = count_items(attentions, queries_of);
  if (worth_pieces(attentions, queries)) return attend_by_pieces(attentions);
  std::int64_t longest = 0;
  for (const Attention& attention : attentions) {
    longest = std::max<std::int64_t>(longest, rows_seen(attention, attention.q.rows - 1));
  }
  // Rows are unpacked once per task, so a task takes all heads unless threads would idle.
  const int groups = queries >= 2 * pool_.threads() ? 1 : std::min(heads, pool_.threads());
  const int per_group = (heads + groups - 1) / groups;
  for_rows(queries * groups, longest * per_group * config_.head_dim * 2,
           [&](int i, Worker& worker) {
             const auto [task, query] = place_of(attentions, i / groups, queries_of);
             const int first = i % groups * per_group;
             const Range some{first, std::min(per_group, heads - first)};
             if (some.count > 0) attend_heads(attentions[task], query, some, worker);
           });
}

void CpuBackend::attend_heads(const Attention& attention, int query, Range heads,
                              Worker& worker) noexcept {
  kernels_.attend(attend_task(attention, query, heads, {0, rows_seen(attention, query)}, worker));
  rotate_heads_back(attention, query, heads);
}

void CpuBackend::rotate_heads_back(const Attention& attention, int query,
                                   Range heads) const noexcept {
  const int width = config_.head_dim;
  for (int head = heads.first; head < heads.first + heads.count; ++head) {
    rotate_back(attention.out.row(query) + static_cast<std::int64_t>(head) * width, width,
                attention.rotation.row(query), attention.rotation.rope);
  }
}

// Few queries over many rows: by pieces of the rows, each thread unpacks only its own.
bool CpuBackend::worth_pieces(std::span<const Attention> attentions, int queries) const noexcept {
  if (pool_.threads() == 1 || queries > kPieceQueries) return false;
  return std::ranges::any_of(attentions, [&](const Attention& attention) {
    const int rows = rows_seen(attention, attention.q.rows - 1);
    return kernels_.piece_rows(attention.window.format, rows) < rows;
  });
}

void CpuBackend::attend_by_pieces(std::span<const Attention> attentions) noexcept {
  const int heads = config_.num_attention_heads;
  const int width = config_.head_dim;
  std::array<CutQuery, kPieceQueries> all{};
  int queries = 0;
  int longest = 0;
  for (const Attention& attention : attentions) {
    for (int query = 0; query < attention.q.rows; ++query) {
      const int rows = rows_seen(attention, query);
      const int of_piece = kernels_.piece_rows(attention.window.format, rows);
      all[size(queries++)] = {&attention, query, rows, of_piece};
      longest = std::max(longest, of_piece);
    }
  }
  const std::span<const CutQuery> cut(all.data(), size(queries));
  const auto pieces_of = [](const CutQuery& query) { return query.pieces(); };
  const int pieces = count_items(cut, pieces_of);
  const int groups = std::clamp(pool_.threads() / pieces, 1, heads);
  const int per_group = (heads + groups - 1) / groups;
  for_rows(pieces * groups, std::int64_t{longest} * per_group * width * 2,
           [&](int i, Worker& worker) {
             const auto [index, piece] = place_of(cut, i / groups, pieces_of);
             const int first = i % groups * per_group;
             const Range some{first, std::min(per_group, heads - first)};
             if (some.count <= 0) return;
             const CutQuery& of = cut[index];
             const Range rows{piece * of.piece_rows,
                              std::min(of.piece_rows, of.rows - piece * of.piece_rows)};
             kernels_.attend_piece(attend_task(*of.attention, of.query, some, rows, worker),
                                   piece == 0, part_of(static_cast<int>(index), piece, first));
           });
  for_rows(queries * heads, std::int64_t{kPiecesMax} * width, [&](int i, Worker&) {
    const int index = i / heads;
    const int head = i % heads;
    const CutQuery& of = cut[size(index)];
    std::array<AttendPart, kPiecesMax> parts;
    for (int piece = 0; piece < of.pieces(); ++piece) {
      parts[size(piece)] = part_of(index, piece, head);
    }
    kernels_.join_pieces(parts.data(), of.pieces(), width,
                         of.attention->out.row(of.query) + std::int64_t{head} * width);
    rotate_heads_back(*of.attention, of.query, {head, 1});
  });
}

// From a head on.
AttendPart CpuBackend::part_of(int query, int piece, int head) noexcept {
  const std::int64_t heads = config_.num_attention_heads;
  const std::int64_t width = config_.head_dim;
  float* part = parts_.data() + (query * kPiecesMax + piece) * part_floats();
  return {.out = part + head * width,
          .largest = part + heads * width + head,
          .total = part + heads * (width + 1) + head};
}

}  // namespace fathom::engine::cpu
