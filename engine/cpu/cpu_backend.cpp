// Scratch memory, products, norms and hyper-connections of the CPU backend.
#include "engine/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "engine/limits.h"

namespace fathom::engine::cpu {
namespace {

constexpr int kProductsMax = 32;  // Pro multiplies 16 output groups at once
static_assert(kOutputGroupsMax <= kProductsMax);
constexpr int kTilesPerThread = 8;

// Rows of a tile are multiples of these: what f32 kernels take at a time, and what those do that
// turn a tile of weights into lanes.
constexpr int kPlainRows = 8;
constexpr int kRoundedRows = 32;

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

template <class T>
void grow(std::vector<T>& buffer, std::int64_t count) {
  if (size(count) > buffer.size()) buffer.resize(size(count));
}

template <class T>
std::int64_t bytes_in(const std::vector<T>& buffer) noexcept {
  return static_cast<std::int64_t>(buffer.capacity() * sizeof(T));
}

double sigmoid(double x) noexcept {
  return 1 / (1 + std::exp(-x));
}

// softmax over each row, + eps; then columns and rows in turn, eps in every divisor. Ends with
// columns. (oracle: sinkhorn)
void sinkhorn(float* m, int n, int iterations, double eps) noexcept {
  const auto divide = [m](int first, int step, int count, double total) {
    for (int i = 0; i < count; ++i) total += m[first + i * step];
    for (int i = 0; i < count; ++i) {
      m[first + i * step] = static_cast<float>(m[first + i * step] / total);
    }
  };
  for (int a = 0; a < n; ++a) {
    float* row = m + a * n;
    const double largest = *std::max_element(row, row + n);
    std::array<double, kStreamsMax> weights{};
    double total = 0;
    for (int b = 0; b < n; ++b) total += weights[size(b)] = std::exp(row[b] - largest);
    for (int b = 0; b < n; ++b) row[b] = static_cast<float>(weights[size(b)] / total + eps);
  }
  for (int b = 0; b < n; ++b) divide(b, n, n, eps);
  for (int i = 1; i < iterations; ++i) {
    for (int a = 0; a < n; ++a) divide(a * n, 1, n, eps);
    for (int b = 0; b < n; ++b) divide(b, n, n, eps);
  }
}

}  // namespace

CpuBackend::CpuBackend(const ModelConfig& config, const Kernels& kernels, int threads)
    : config_(config), kernels_(kernels), workers_(size(threads)), pool_(threads) {
  assert(config.hc_mult <= kStreamsMax);
  columns_max_ = std::max({config.hc_mult * config.hidden_size, config.q_lora_rank,
                           config.num_attention_heads / config.o_groups * config.head_dim,
                           config.o_groups * config.o_lora_rank, config.moe_intermediate_size,
                           config.n_routed_experts});
}

std::int64_t CpuBackend::bytes() const noexcept {
  std::int64_t total = bytes_in(inputs_.plain) + bytes_in(inputs_.int8) + bytes_in(inputs_.bf16) +
                       bytes_in(rounded_) + bytes_in(gate_rounded_) + bytes_in(tiles_) +
                       bytes_in(groups_) + bytes_in(slots_) + bytes_in(slot_tokens_) +
                       bytes_in(gate_) + bytes_in(up_) + bytes_in(down_) + bytes_in(parts_);
  for (const Worker& worker : workers_) {
    total += bytes_in(worker.scratch) + bytes_in(worker.rows) + bytes_in(worker.scores) +
             bytes_in(worker.ranks);
  }
  return total;
}

void CpuBackend::reserve(int rows, std::int64_t tokens) {
  if (rows <= reserved_rows_ && tokens <= reserved_tokens_) return;
  rows = std::max(rows, reserved_rows_);
  tokens = std::max(tokens, reserved_tokens_);
  const std::int64_t routed = static_cast<std::int64_t>(rows) * config_.num_experts_per_tok;
  const std::int64_t slots = routed + rows;
  const std::int64_t attended =
      config_.sliding_window +
      std::max(std::min<std::int64_t>(config_.index_topk, tokens / 4), tokens / 128);
  const std::int64_t scratch = std::max(
      {kUnpackedRows * (columns_max_ + kBlock),
       kernels_.attend_scratch(config_.num_attention_heads, config_.head_dim,
                               static_cast<int>(attended)),
       kernels_.index_scratch(config_.index_n_heads, config_.index_head_dim),
       static_cast<std::int64_t>(2 * config_.n_routed_experts), std::int64_t{config_.head_dim}});
  for (Worker& worker : workers_) {
    grow(worker.scratch, scratch);
    grow(worker.rows, attended);
    // One query goes through the first worker: see select().
    const bool scores = rows > 1 || &worker == &workers_[0];
    grow(worker.scores, scores ? std::min(rows, kIndexQueries) * tokens / 4 : 0);
    grow(worker.ranks, scores ? tokens / 4 : 0);
  }
  const std::int64_t inputs = std::max(slots, static_cast<std::int64_t>(rows) * kProductsMax);
  grow(inputs_.plain, inputs);
  grow(inputs_.int8, inputs);
  grow(inputs_.bf16, inputs);
  // Products of one call read the same rows or disjoint parts of one matrix, in two forms at most.
  const std::int64_t widest =
      std::max({config_.hidden_size, config_.num_attention_heads * config_.head_dim,
                config_.o_groups * config_.o_lora_rank});
  const std::int64_t padding = std::int64_t{64} * kProductsMax;
  grow(rounded_, rows * (rounded_bytes(ActivationForm::int8, widest) +
                         rounded_bytes(ActivationForm::bf16, widest) + padding));
  grow(gate_rounded_, slots * rounded_bytes(ActivationForm::bf16, config_.moe_intermediate_size));
  grow(slot_tokens_, slots);
  grow(slots_, routed);
  grow(expert_counts_, config_.n_routed_experts);
  grow(gate_, slots * config_.moe_intermediate_size);
  grow(up_, slots * config_.moe_intermediate_size);
  grow(down_, slots * config_.hidden_size);
  const RowFormat packed{
      .form = RowForm::packed_row, .width = config_.head_dim, .rope = config_.qk_rope_head_dim};
  if (pool_.threads() > 1 && kernels_.piece_rows(packed, static_cast<int>(attended)) < attended) {
    grow(parts_, std::min(rows, kPieceQueries) * kPiecesMax * part_floats());
  }
  groups_.reserve(size(config_.n_routed_experts + 1));
  arrived_.reserve(size(config_.n_routed_experts));
  // Tiles hold at least 8 rows, but for the last of each matrix.
  const std::int64_t per_expert =
      std::max(config_.moe_intermediate_size, config_.hidden_size) / 8 + 1;
  const std::int64_t products = kProductsMax * (columns_max_ * 4 / 8 + 1);
  tiles_.reserve(size(std::min<std::int64_t>(std::max({(config_.n_routed_experts + 1) * per_expert,
                                                       products, std::int64_t{config_.vocab_size}}),
                                             ThreadPool::kTasksMax)));
  reserved_rows_ = rows;
  reserved_tokens_ = tokens;
}

std::int64_t CpuBackend::task_work(std::int64_t total) const noexcept {
  return std::max(kTaskWork, total / (pool_.threads() * kTilesPerThread));
}

void CpuBackend::add_tiles(int group, std::int64_t rows, int unit, std::int64_t row_work,
                           std::int64_t task_work) noexcept {
  const std::int64_t wanted = (task_work + row_work - 1) / row_work;
  const auto per_tile = static_cast<int>((std::min(wanted, rows) + unit - 1) / unit * unit);
  for (int first = 0; first < rows; first += per_tile) {
    assert(tiles_.size() < tiles_.capacity());
    tiles_.push_back({group, first, std::min(per_tile, static_cast<int>(rows) - first)});
  }
}

void CpuBackend::embed(std::span<const Token> tokens, const Tensor& table,
                       Matrix streams) noexcept {
  const auto hidden = static_cast<int>(table.columns);
  for (int t = 0; t < std::ssize(tokens); ++t) {
    float* row = streams.row(t);
    dequantize_row(table, tokens[size(t)], row);
    for (int i = 1; i < config_.hc_mult; ++i) {
      std::copy_n(row, hidden, row + static_cast<std::int64_t>(i) * hidden);
    }
  }
}

void CpuBackend::round_rows(ActivationForm form, ConstMatrix x, std::byte* rounded) noexcept {
  const std::int64_t bytes = rounded_bytes(form, x.width);
  for_rows(x.rows, x.width,
           [&](int t, Worker&) { kernels_.round(form, x.row(t), x.width, rounded + t * bytes); });
}

// Every row once in every form: products of the same x share it.
void CpuBackend::round_inputs(std::span<const Product> products,
                              std::span<const int> first_input) noexcept {
  std::byte* free = rounded_.data();
  for (std::size_t p = 0; p < products.size(); ++p) {
    const ConstMatrix& x = products[p].x;
    const ActivationForm form = kernels_.form(products[p].weights->format);
    if (form == ActivationForm::f32) continue;
    std::size_t same = 0;
    while (same < p && (products[same].x.values != x.values || products[same].x.width != x.width ||
                        kernels_.form(products[same].weights->format) != form)) {
      ++same;
    }
    std::vector<const std::byte*>& rows = inputs_.rounded(form);
    const std::int64_t bytes = rounded_bytes(form, x.width);
    const std::byte* begin = same < p ? rows[size(first_input[same])] : free;
    for (int t = 0; t < x.rows; ++t) rows[size(first_input[p] + t)] = begin + t * bytes;
    if (same < p) continue;
    round_rows(form, x, free);
    free += x.rows * bytes;
  }
  assert(free <= rounded_.data() + rounded_.size());
}

// `task` lacks its inputs: those from `first_input` on, in the form of its weights.
void CpuBackend::multiply_rows(MultiplyTask task, int first_input) noexcept {
  const ActivationForm form = kernels_.form(task.weights->format);
  if (form == ActivationForm::f32) {
    task.x = inputs_.plain.data() + first_input;
  } else {
    task.rounded = inputs_.rounded(form).data() + first_input;
  }
  kernels_.multiply(task);
}

void CpuBackend::multiply(std::span<const Product> products) noexcept {
  assert(std::ssize(products) <= kProductsMax);
  std::array<int, kProductsMax> first_input{};
  int inputs = 0;
  std::int64_t work = 0;
  for (std::size_t p = 0; p < products.size(); ++p) {
    const Product& product = products[p];
    assert(product.x.width == product.weights->columns && product.x.rows == product.y.rows);
    assert(product.first_row + product.y.width <= product.weights->rows);
    first_input[p] = inputs;
    for (int t = 0; t < product.x.rows; ++t) inputs_.plain[size(inputs++)] = product.x.row(t);
    work += static_cast<std::int64_t>(product.y.width) * product.x.rows * product.x.width;
  }
  round_inputs(products, first_input);
  tiles_.clear();
  for (std::size_t p = 0; p < products.size(); ++p) {
    const Product& product = products[p];
    const bool plain = kernels_.form(product.weights->format) == ActivationForm::f32;
    add_tiles(static_cast<int>(p), product.y.width, plain ? kPlainRows : kRoundedRows,
              static_cast<std::int64_t>(product.x.rows) * product.x.width, task_work(work));
  }
  for_tiles(work, [&](const Tile& tile, Worker& worker) {
    const Product& product = products[size(tile.group)];
    multiply_rows({.weights = product.weights,
                   .first_row = product.first_row + tile.first,
                   .rows = tile.rows,
                   .tokens = product.x.rows,
                   .y = product.y.values + tile.first,
                   .y_stride = product.y.stride,
                   .scratch = worker.scratch.data()},
                  first_input[size(tile.group)]);
  });
}

void CpuBackend::normalise(ConstMatrix x, std::span<const float> weight, Matrix y) noexcept {
  assert(x.width == std::ssize(weight) && x.width == y.width && x.rows == y.rows);
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(x.rows, x.width * 2, [&](int t, Worker&) {
    kernels_.scale(x.row(t), kernels_.inverse_rms(x.row(t), x.width, eps), weight.data(), x.width,
                   y.row(t));
  });
}

void CpuBackend::mix_streams(const StreamMix& mix) noexcept {
  const int n = config_.hc_mult;
  const int width = config_.hidden_size;
  const auto rms_eps = static_cast<float>(config_.rms_norm_eps);
  // A Sinkhorn iteration costs about 2 n² divisions, each as much as several multiply-adds.
  const std::int64_t work = std::int64_t{4} * n * width + config_.hc_sinkhorn_iters * n * n * 8;
  for_rows(mix.x.rows, work, [&](int t, Worker&) {
    const float* control = mix.control.row(t);
    const float* base = mix.weights->base.data();
    const auto& scale = mix.weights->scale;
    const double norm = kernels_.inverse_rms(mix.streams.row(t), n * width, rms_eps);
    const auto affine = [&](int i, float factor) {
      return static_cast<float>(control[i] * norm * factor + base[i]);
    };
    std::array<float, kStreamsMax> pre{};
    for (int i = 0; i < n; ++i) {
      pre[size(i)] = static_cast<float>(sigmoid(affine(i, scale[0])) + config_.hc_eps);
      mix.post.row(t)[i] = static_cast<float>(2 * sigmoid(affine(n + i, scale[1])));
    }
    float* comb = mix.comb.row(t);
    for (int i = 0; i < n * n; ++i) comb[i] = affine(2 * n + i, scale[2]);
    sinkhorn(comb, n, config_.hc_sinkhorn_iters, config_.hc_eps);
    mix_rows(mix.streams.row(t), pre.data(), mix.norm, mix.x.row(t));
  });
}

// x = Σ weights[i] · stream i, normalised.
void CpuBackend::mix_rows(const float* streams, const float* weights, std::span<const float> norm,
                          float* x) const noexcept {
  const int width = config_.hidden_size;
  std::array<const float*, kStreamsMax> rows{};
  for (int i = 0; i < config_.hc_mult; ++i) {
    rows[size(i)] = streams + static_cast<std::int64_t>(i) * width;
  }
  kernels_.combine(rows.data(), weights, config_.hc_mult, width, x);
  const auto rms_eps = static_cast<float>(config_.rms_norm_eps);
  kernels_.scale(x, kernels_.inverse_rms(x, width, rms_eps), norm.data(), width, x);
}

void CpuBackend::mix_head(const HeadMix& mix) noexcept {
  const int n = config_.hc_mult;
  const int width = config_.hidden_size;
  const auto rms_eps = static_cast<float>(config_.rms_norm_eps);
  for_rows(mix.x.rows, std::int64_t{4} * n * width, [&](int t, Worker&) {
    const double norm = kernels_.inverse_rms(mix.streams.row(t), n * width, rms_eps);
    std::array<float, kStreamsMax> weights{};
    for (int i = 0; i < n; ++i) {
      const double z = mix.control.row(t)[i] * norm * mix.weights->scale;
      weights[size(i)] =
          static_cast<float>(sigmoid(z + mix.weights->base[size(i)]) + config_.hc_eps);
    }
    mix_rows(mix.streams.row(t), weights.data(), mix.norm, mix.x.row(t));
  });
}

void CpuBackend::expand_streams(Matrix streams, ConstMatrix y, ConstMatrix post,
                                ConstMatrix comb) noexcept {
  const int n = config_.hc_mult;
  for_rows(streams.rows, std::int64_t{n} * (n + 1) * y.width, [&](int t, Worker&) {
    kernels_.expand(streams.row(t), y.row(t), post.row(t), comb.row(t), n, y.width);
  });
}

}  // namespace fathom::engine::cpu
