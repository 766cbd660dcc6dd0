// Where matrices lie in a model's files, and where they go in memory when they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/weights/model_weights.h"

namespace fathom::engine {

// A part of a file, in whole multiples of kReadAlignment, and where it goes.
struct Extent {
  int file = 0;  // of those given to lay_out()
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::int64_t place = 0;
};

// Some matrices in one piece of memory, in the order of their files.
struct Layout {
  struct Place {  // in memory, of a matrix
    std::int64_t data = 0;
    std::int64_t scales = 0;  // if it has any
  };

  std::vector<Extent> extents;
  std::int64_t bytes = 0;  // of all extents
  std::vector<Place> places;
};

using WeightFiles = std::span<const std::shared_ptr<const MappedFile>>;

// Nothing if a matrix lies in none of the files, as copies of misaligned ones do.
std::optional<Layout> lay_out(std::span<const Tensor* const> matrices, WeightFiles files);

// The matrix over memory that holds a layout.
Tensor placed(Tensor matrix, const Layout::Place& place, const std::byte* memory) noexcept;

// All matrices that every token multiplies with, and the tables that it looks up: everything but
// routed experts and the vectors, which are in memory in any case.
std::vector<Tensor*> dense_matrices(ModelWeights& weights);

// The trunk's blocks, then those of MTP.
std::vector<BlockWeights*> blocks_of(ModelWeights& weights);

}  // namespace fathom::engine
