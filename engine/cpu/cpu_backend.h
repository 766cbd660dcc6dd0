// The Backend of a CPU: splits operations over threads and calls the kernels of one set.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/backend.h"
#include "engine/config.h"
#include "engine/cpu/kernels.h"
#include "engine/cpu/thread_pool.h"

namespace fathom::engine::cpu {

// Contracts are those of Backend. Threads split independent outputs only, never a sum.
class CpuBackend final : public Backend {
 public:
  CpuBackend(const ModelConfig& config, const Kernels& kernels, int threads);

  std::string_view name() const noexcept override { return kernels_.name; }
  int revision() const noexcept override { return revision_of(kernels_.name); }
  int threads() const noexcept override { return pool_.threads(); }
  std::int64_t bytes() const noexcept override;
  void reserve(int rows, std::int64_t tokens) override;

  void embed(std::span<const Token> tokens, const Tensor& table, Matrix streams) noexcept override;
  void multiply(std::span<const Product> products) noexcept override;
  void normalise(ConstMatrix x, std::span<const float> weight, Matrix y) noexcept override;
  void mix_streams(const StreamMix& mix) noexcept override;
  void mix_head(const HeadMix& mix) noexcept override;
  void expand_streams(Matrix streams, ConstMatrix y, ConstMatrix post,
                      ConstMatrix comb) noexcept override;
  void finish_queries(Matrix q, Rotation rotation) noexcept override;
  void finish_index_queries(Matrix q, Rotation rotation, RowFormat keys) noexcept override;
  void store_rows(Matrix kv, std::span<const float> norm, Rotation rotation,
                  const RowFormat& format, std::byte* stored) noexcept override;
  void pool(std::span<const Pooling> poolings) noexcept override;
  void select(std::span<const IndexQuery> queries) noexcept override;
  void attend(std::span<const Attention> attentions) noexcept override;
  void route(const Routing& routing) noexcept override;
  void run_experts(const Mixture& mixture) noexcept override;

 private:
  // What one worker needs; sized by reserve().
  struct Worker {
    std::vector<float> scratch;
    std::vector<const std::byte*> rows;  // addresses of the rows that a query attends to
    std::vector<float> scores;           // [kIndexQueries] of every key a query sees
    std::vector<std::uint32_t> ranks;    // of one query's keys
  };

  struct Range {
    int first = 0;
    int count = 0;
  };

  // A range of rows of one product, or of one expert's matrices.
  struct Tile {
    int group = 0;  // product or expert
    int first = 0;
    int rows = 0;
  };

  // Row addresses of products' x, each in the form that the product's weights want.
  struct Inputs {
    std::vector<const float*> plain;
    std::vector<const std::byte*> int8, bf16;

    std::vector<const std::byte*>& rounded(ActivationForm form) noexcept {
      return form == ActivationForm::int8 ? int8 : bf16;
    }
  };

  // Where the tokens of one expert lie in the expert buffers.
  struct Group {
    const ExpertWeights* weights = nullptr;
    int expert = 0;  // the shared one comes behind all others
    int first = 0;
    int tokens = 0;
    float limit = 0;
  };

  // Runs body(row, worker) for every row, several rows a task; `work` is the cost of a row in
  // multiply-adds. Small jobs stay on the calling thread.
  template <class Body>
  void for_rows(int rows, std::int64_t work, Body&& body) noexcept;
  template <class Body>
  void for_tiles(std::int64_t work, Body&& body) noexcept;

  void mix_rows(const float* streams, const float* weights, std::span<const float> norm,
                float* x) const noexcept;
  void add_tiles(int group, std::int64_t rows, int unit, std::int64_t row_work,
                 std::int64_t task_work) noexcept;
  void multiply_rows(MultiplyTask task, int first_input) noexcept;
  void round_rows(ActivationForm form, ConstMatrix x, std::byte* rounded) noexcept;
  void round_inputs(std::span<const Product> products, std::span<const int> first_input) noexcept;
  void round_expert_inputs(ConstMatrix x) noexcept;
  std::int64_t task_work(std::int64_t total) const noexcept;
  void group_by_expert(const Mixture& mixture) noexcept;
  void run_groups(std::span<const Group> groups) noexcept;
  void run_as_they_come(ExpertSource& source) noexcept;
  void run_gate_and_up(std::span<const Group> groups, std::int64_t work) noexcept;
  void run_down(std::span<const Group> groups, std::int64_t work) noexcept;
  static int window_rows(const Attention& attention, int query) noexcept;
  static int rows_seen(const Attention& attention, int query) noexcept;
  static void address_rows(const Attention& attention, int query, Range rows,
                           Worker& worker) noexcept;
  AttendTask attend_task(const Attention& attention, int query, Range heads, Range rows,
                         Worker& worker) const noexcept;
  void attend_heads(const Attention& attention, int query, Range heads, Worker& worker) noexcept;
  void rotate_heads_back(const Attention& attention, int query, Range heads) const noexcept;
  bool worth_pieces(std::span<const Attention> attentions, int queries) const noexcept;
  void attend_by_pieces(std::span<const Attention> attentions) noexcept;
  std::int64_t part_floats() const noexcept {
    return std::int64_t{config_.num_attention_heads} * (config_.head_dim + 2);
  }
  AttendPart part_of(int query, int piece, int head) noexcept;
  int keys_per_task(int keys) const noexcept;
  static int visible_keys(const IndexQuery& query, int i) noexcept;
  void select_by_keys(const IndexQuery& query) noexcept;
  void select_queries(const IndexQuery& query, Range queries, Worker& worker) noexcept;
  void score_keys(const IndexQuery& query, Range queries, Range keys, float* scores,
                  Worker& worker) noexcept;
  void choose(const IndexQuery& query, Range queries, const float* scores, Worker& worker) noexcept;
  void pool_row(const Pooling& pooling, int row, float* scratch) noexcept;

  // Constant after construction.
  ModelConfig config_;
  const Kernels& kernels_;
  std::int64_t columns_max_ = 0;

  // Grow with reserve(); contents belong to the operation that runs.
  std::vector<Worker> workers_;
  Inputs inputs_;
  std::vector<std::byte> rounded_;       // activations of one multiply() or of the experts' x
  std::vector<std::byte> gate_rounded_;  // [slots]: gate_ in the form of w2
  std::vector<Tile> tiles_;
  std::vector<Group> groups_;
  std::vector<Group> arrived_;      // those that run now, if experts come one after the other
  std::vector<int> slot_tokens_;    // [slots] which token of the batch it holds
  std::vector<int> slots_;          // [rows, num_experts_per_tok] position in the expert buffers
  std::vector<int> expert_counts_;  // [n_routed_experts]
  std::vector<float> gate_, up_;    // [slots, moe_intermediate_size]
  std::vector<float> down_;         // [slots, hidden_size]
  std::vector<float> parts_;        // [kPieceQueries, kPiecesMax, part_floats()]
  int reserved_rows_ = 0;
  std::int64_t reserved_tokens_ = 0;

  ThreadPool pool_;
};

// Rotates the last `rope` entries of a head by its row of the table (oracle: rope).
void rotate(float* head, int width, const double* table, int rope) noexcept;
void rotate_back(float* head, int width, const double* table, int rope) noexcept;

// Queries whose rows are split over the threads: each takes kPiecesMax outputs of memory, 1 MB.
inline constexpr int kPieceQueries = 2;

// Below this a job is not worth waking another thread for: about 3 microseconds of one core.
inline constexpr std::int64_t kTaskWork = 20'000;

template <class Body>
void CpuBackend::for_rows(int rows, std::int64_t work, Body&& body) noexcept {
  const std::int64_t total = rows * work;
  if (total < 2 * kTaskWork) {
    for (int row = 0; row < rows; ++row) body(row, workers_[0]);
    return;
  }
  const auto per_task = static_cast<int>((task_work(total) + work - 1) / work);
  pool_.run((rows + per_task - 1) / per_task, [&](int task, int worker) {
    const int end = std::min(rows, (task + 1) * per_task);
    for (int row = task * per_task; row < end; ++row) {
      body(row, workers_[static_cast<std::size_t>(worker)]);
    }
  });
}

template <class Body>
void CpuBackend::for_tiles(std::int64_t work, Body&& body) noexcept {
  if (work < 2 * kTaskWork) {
    for (const Tile& tile : tiles_) body(tile, workers_[0]);
    return;
  }
  pool_.run(static_cast<int>(tiles_.size()), [&](int task, int worker) {
    body(tiles_[static_cast<std::size_t>(task)], workers_[static_cast<std::size_t>(worker)]);
  });
}

}  // namespace fathom::engine::cpu
