// Pass: what the parts of the model share while they compute one batch of tokens.
#pragma once

#include <array>
#include <cassert>
#include <functional>
#include <span>
#include <vector>

#include "engine/backend.h"
#include "engine/cache/kv_cache.h"
#include "engine/model/rope.h"
#include "engine/model/workspace.h"
#include "engine/offload/expert_cache.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

// Timelines in one pass. Each takes a row at least, and a pass of so many rows takes several times
// as long as one of a single row, so that more would only make all of them wait.
inline constexpr int kSequencesMax = 32;

// The tokens of one timeline: rows [first_row, first_row + rows) of the batch.
struct Sequence {
  KvCache* cache = nullptr;
  int first_row = 0;
  int rows = 0;

  int first_position() const noexcept { return cache->length(); }
  int end_position() const noexcept { return first_position() + rows; }
};

// What an operation has to do for each sequence.
template <class Task>
class Tasks {
 public:
  void add(const Task& task) {
    assert(count_ < list_.size());
    list_[count_++] = task;
  }
  std::span<const Task> all() const noexcept { return {list_.data(), count_}; }

 private:
  std::array<Task, kSequencesMax> list_;
  std::size_t count_ = 0;
};

// Rows of all sequences go through the model together; operations that read a timeline take each
// sequence by itself. So a sequence's bits do not depend on the others.
struct Pass {
  const ModelConfig& config;
  Backend& backend;
  Workspace& space;
  std::span<const Sequence> sequences;  // at least one; their caches have the same shape
  std::span<const Token> tokens;        // [rows]: of each sequence, from its cache's length on
  const Rope& plain_rope;
  const Rope& long_rope;

  // Of a model whose routed experts are not all in memory; null: they are those of the weights.
  ExpertCache* experts = nullptr;
  std::function<bool()> keep_waiting = {};  // while experts are read; false ends the pass

  int rows() const noexcept { return static_cast<int>(tokens.size()); }
  const CacheShape& shape() const noexcept { return sequences.front().cache->shape(); }
  Matrix matrix(std::vector<float>& buffer, int width) const noexcept {
    return space.matrix(buffer, rows(), width);
  }
};

// A matrix of weights over floats in memory.
inline Tensor as_tensor(const std::vector<float>& values, std::int64_t rows) noexcept {
  const std::int64_t columns = static_cast<std::int64_t>(values.size()) / rows;
  return {.format = Format::f32,
          .rows = rows,
          .columns = columns,
          .row_bytes = columns * static_cast<std::int64_t>(sizeof(float)),
          .data = reinterpret_cast<const std::byte*>(values.data())};
}

}  // namespace fathom::engine
