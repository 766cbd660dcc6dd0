// Pass: what the parts of the model share while they compute one chunk of tokens.
#pragma once

#include <span>
#include <vector>

#include "engine/backend.h"
#include "engine/cache/kv_cache.h"
#include "engine/model/rope.h"
#include "engine/model/workspace.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

struct Pass {
  const ModelConfig& config;
  Backend& backend;
  Workspace& space;
  KvCache& cache;
  std::span<const Token> tokens;  // positions cache.length() …
  const Rope& plain_rope;
  const Rope& long_rope;

  int rows() const noexcept { return static_cast<int>(tokens.size()); }
  int first_position() const noexcept { return cache.length(); }
  int end_position() const noexcept { return first_position() + rows(); }
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
