// What kernels that take tiles of weights share: fetching ahead, and where a tile lies in scratch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <xmmintrin.h>

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {

// Kernels read many rows side by side, which is more streams than the processor follows by itself.
// In the file the rows of the next tile lie one after another: fetched in that order, a few cache
// lines a step, they are one stream.
class Ahead {
 public:
  // Rows [row, row + count) of the task, over `steps` calls.
  Ahead(const MultiplyTask& task, int row, int count, std::int64_t steps) noexcept {
    const Tensor& weights = *task.weights;
    const std::int64_t rows = std::clamp(task.rows - row, 0, count);
    next_ = weights.data + (task.first_row + row) * weights.row_bytes;
    end_ = next_ + rows * weights.row_bytes;
    bytes_per_step_ = rows * weights.row_bytes / std::max<std::int64_t>(steps, 1) + 1;
  }

  void step() noexcept {
    const std::byte* stop = std::min(next_ + bytes_per_step_, end_);
    for (; next_ < stop; next_ += kLine) {
      _mm_prefetch(reinterpret_cast<const char*>(next_), _MM_HINT_T1);
    }
  }

 private:
  static constexpr int kLine = 64;  // bytes of a cache line

  const std::byte* next_ = nullptr;
  const std::byte* end_ = nullptr;
  std::int64_t bytes_per_step_ = 0;
};

// The first place in scratch that is aligned for vectors of any width: alignof says less where the
// target lacks them.
template <class T>
T* aligned_in(float* scratch) noexcept {
  constexpr std::uintptr_t kAlignment = 64;
  const auto address = reinterpret_cast<std::uintptr_t>(scratch);
  return reinterpret_cast<T*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace fathom::engine::cpu
