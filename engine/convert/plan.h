// Which tensors a GGUF file gets, as what, and from which weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/weights/model_weights.h"
#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

struct PlannedTensor {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape{};  // outermost first

  // The rows, one matrix below the other. Of joined matrices (eh_proj) each row goes on with that
  // of `right`.
  std::vector<Tensor> matrices{};
  std::optional<Tensor> right{};

  std::int64_t rows() const noexcept { return matrices.front().rows * std::ssize(matrices); }
  std::int64_t columns() const noexcept { return shape.back(); }
  std::int64_t row_bytes() const noexcept { return bytes_of(*format_of(type), columns()); }
};

// What a caller wishes for: see ConvertOptions.
struct PlannedTypes {
  std::optional<StoredType> experts;
  std::optional<StoredType> projections;
};

struct Plan {
  std::vector<PlannedTensor> tensors;
  std::vector<std::string> notes;
};

// Tensors of the trunk, or of the MTP blocks with the embedding and the head that they share. They
// point into `weights`.
Plan plan_trunk(const ModelWeights& weights, const PlannedTypes& types);
Plan plan_mtp(const ModelWeights& weights, const PlannedTypes& types);

}  // namespace fathom::engine
