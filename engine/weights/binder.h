// Takes tensors out of a checkpoint by name and refuses any that the model does not expect so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/weights/checkpoint.h"
#include "engine/weights/model_weights.h"

namespace fathom::engine {

// Entries of the tensors bound so far (oracle: weights.param_count). Hash tables do not count.
struct ParameterCount {
  std::int64_t main = 0;
  std::int64_t mtp = 0;
  double active =
      0;  // of the main model: what one token multiplies with, and its table of embeddings
};

// Every method throws Error that names file, tensor, found and expected.
class Binder {
 public:
  // Keeps `checkpoint` only while it lives. Copies of misaligned matrices go to `weights`.
  Binder(Checkpoint& checkpoint, ModelWeights& weights)
      : checkpoint_(checkpoint), weights_(weights) {}

  // The files of the MTP block and of the trunk may be two.
  void switch_to(Checkpoint& checkpoint) { checkpoint_ = checkpoint; }

  Tensor matrix(const std::string& name, std::int64_t rows, std::int64_t columns);
  Tensor hash_table(const std::string& name, std::int64_t rows, std::int64_t columns, int experts);

  // A tensor small enough to be kept as f32, all of it finite.
  std::vector<float> floats(const std::string& name, const std::vector<std::int64_t>& shape);

  const ParameterCount& parameters() const noexcept { return parameters_; }
  std::int64_t bytes() const noexcept { return bytes_; }

 private:
  StoredPart take(const std::string& name, const std::vector<std::int64_t>& shape);
  void attach_scales(const std::string& name, Tensor& tensor);
  const std::byte* aligned(const StoredPart& part, std::int64_t alignment);
  void count(const std::string& name, std::int64_t entries);

  std::reference_wrapper<Checkpoint> checkpoint_;
  ModelWeights& weights_;
  ParameterCount parameters_;
  std::int64_t bytes_ = 0;
};

}  // namespace fathom::engine
