// Small products of Q8_0, MXFP4, BF16 and FP8 weights.
#include "engine/cpu/kernel_trial.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "engine/weights/formats.h"

namespace fathom::engine::cpu {
namespace {

using Clock = std::chrono::steady_clock;

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

// Weights, activations in the form that a set wants, and room for the result.
class Trial {
 public:
  Trial(const Kernels& set, Format format, int rows, std::int64_t columns, int tokens)
      : set_(set), form_(set.form(format)), rows_(rows), tokens_(tokens) {
    const std::int64_t row_bytes = bytes_of(format, columns);
    const std::int64_t scale_bytes = (columns + kBlock - 1) / kBlock;
    // Codes below 0x70: no format has NaN among them, and all scales are moderate.
    weights_.resize(size(rows * row_bytes));
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      weights_[i] = static_cast<std::byte>((i * 41 + i / 97) % 0x38);
    }
    scales_.assign(size(rows * scale_bytes), std::byte{127});
    tensor_ = {.format = format,
               .rows = rows,
               .columns = columns,
               .row_bytes = row_bytes,
               .data = weights_.data(),
               .scales = scales_.data(),
               .scale_row_bytes = scale_bytes};
    const std::int64_t rounded_row = rounded_bytes(form_, columns);
    x_.resize(size(tokens * columns));
    for (std::size_t i = 0; i < x_.size(); ++i) {
      x_[i] = static_cast<float>(static_cast<int>((i * 29 + i / 61) % 255) - 127) / 64;
    }
    rounded_.resize(size(tokens * rounded_row));
    for (int t = 0; t < tokens; ++t) {
      float* row = x_.data() + t * columns;
      std::byte* rounded = rounded_.data() + t * rounded_row;
      plain_rows_.push_back(row);
      rounded_rows_.push_back(rounded);
      if (form_ == ActivationForm::f32) continue;
      set.round(form_, row, columns, rounded);
      rounded_to_f32(form_, rounded, columns, row);  // what the twin multiplies
    }
    scratch_.resize(size(kUnpackedRows * (columns + 2 * kBlock)));
  }

  std::vector<float> run() { return run(set_, form_ == ActivationForm::f32); }
  std::vector<float> run_twin() { return run(kReference, /*plain=*/true); }

  // Of every output: Σ |x| · |w| bounds what rounding may do.
  float magnitude() const noexcept {
    std::vector<float> row(size(tensor_.columns));
    double most = 0;
    for (int r = 0; r < rows_; ++r) {
      dequantize_row(tensor_, r, row.data());
      double total = 0;
      for (const float w : row) total += std::abs(w) * 2.0;
      most = std::max(most, total);
    }
    return static_cast<float>(most);
  }

 private:
  std::vector<float> run(const Kernels& set, bool plain) {
    std::vector<float> y(size(std::int64_t{tokens_} * rows_));
    set.multiply({.weights = &tensor_,
                  .rows = rows_,
                  .x = plain_rows_.data(),
                  .rounded = plain ? nullptr : rounded_rows_.data(),
                  .tokens = tokens_,
                  .y = y.data(),
                  .y_stride = rows_,
                  .scratch = scratch_.data()});
    return y;
  }

  const Kernels& set_;
  ActivationForm form_;
  int rows_;
  int tokens_;
  std::vector<std::byte> weights_, scales_, rounded_;
  std::vector<float> x_, scratch_;
  std::vector<const float*> plain_rows_;
  std::vector<const std::byte*> rounded_rows_;
  Tensor tensor_;
};

}  // namespace

double trial_seconds(const Kernels& set) {
  constexpr int kRounds = 4;
  Trial trial(set, Format::q8_0, /*rows=*/128, /*columns=*/2048, /*tokens=*/24);
  double least = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    trial.run();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return least;
}

bool trial_agrees(const Kernels& set) {
  for (const Format format :
       {Format::q8_0, Format::mxfp4, Format::fp4, Format::bf16, Format::fp8}) {
    for (const int tokens : {1, 5, 19}) {
      Trial trial(set, format, /*rows=*/35, /*columns=*/160, tokens);
      const std::vector<float> found = trial.run();
      const std::vector<float> expected = trial.run_twin();
      const float tolerance = trial.magnitude() * 160 * 0x1.0p-24F;
      for (std::size_t i = 0; i < found.size(); ++i) {
        if (!(std::abs(found[i] - expected[i]) <= tolerance)) return false;
      }
    }
  }
  return true;
}

}  // namespace fathom::engine::cpu
