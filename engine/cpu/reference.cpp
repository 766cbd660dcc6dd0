// The plain twin: every kernel in the loops of its formula, sums in double. It defines what is
// right; the vector sets are tested against it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/cpu/kernels.h"

namespace fathom::engine::cpu {
namespace {

double dot(const float* a, const float* b, int n) noexcept {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

void multiply(const MultiplyTask& task) noexcept {
  const int columns = static_cast<int>(task.weights->columns);
  for (int r = 0; r < task.rows; ++r) {
    dequantize_row(*task.weights, task.first_row + r, task.scratch);
    for (int t = 0; t < task.tokens; ++t) {
      task.y[t * task.y_stride + r] = static_cast<float>(dot(task.x[t], task.scratch, columns));
    }
  }
}

double inverse_rms(const float* x, int width, float epsilon) noexcept {
  return 1.0 / std::sqrt(dot(x, x, width) / width + epsilon);
}

void combine(const float* const* rows, const float* weights, int count, int width,
             float* y) noexcept {
  for (int d = 0; d < width; ++d) {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += static_cast<double>(weights[i]) * rows[i][d];
    y[d] = static_cast<float>(sum);
  }
}

void expand(float* streams, const float* y, const float* post, const float* comb, int n,
            int width) noexcept {
  for (int d = 0; d < width; ++d) {
    float mixed[kStreamsMax];
    for (int b = 0; b < n; ++b) {
      double sum = static_cast<double>(post[b]) * y[d];
      for (int a = 0; a < n; ++a) {
        sum += static_cast<double>(comb[a * n + b]) *
               streams[static_cast<std::ptrdiff_t>(a) * width + d];
      }
      mixed[b] = static_cast<float>(sum);
    }
    for (int b = 0; b < n; ++b) streams[static_cast<std::ptrdiff_t>(b) * width + d] = mixed[b];
  }
}

void pool(const Candidate* candidates, int count, int width, float* out) noexcept {
  for (int d = 0; d < width; ++d) {
    double largest = -std::numeric_limits<double>::infinity();
    for (int c = 0; c < count; ++c) {
      largest =
          std::max(largest, static_cast<double>(candidates[c].gate[d]) + candidates[c].ape[d]);
    }
    double total = 0;
    double sum = 0;
    for (int c = 0; c < count; ++c) {
      const double gate = static_cast<double>(candidates[c].gate[d]) + candidates[c].ape[d];
      const double weight = std::exp(gate - largest);
      total += weight;
      sum += weight * candidates[c].value[d];
    }
    out[d] = static_cast<float>(sum / total);
  }
}

// The rows as f32, then a score per row.
std::int64_t attend_scratch(int /*heads*/, int width, int count) noexcept {
  return static_cast<std::int64_t>(count) * (width + 1);
}

void attend(const AttendTask& task) noexcept {
  const int width = task.format->width;
  float* rows = task.scratch;
  float* scores = rows + static_cast<std::int64_t>(task.count) * width;
  for (int j = 0; j < task.count; ++j) {
    load(*task.format, task.rows[j], rows + static_cast<std::int64_t>(j) * width);
  }
  for (int head = 0; head < task.heads; ++head) {
    const float* q = task.q + static_cast<std::int64_t>(head) * width;
    float* out = task.out + static_cast<std::int64_t>(head) * width;
    float largest = task.sinks[head];
    for (int j = 0; j < task.count; ++j) {
      const float* row = rows + static_cast<std::int64_t>(j) * width;
      scores[j] = static_cast<float>(dot(q, row, width) * task.scale);
      largest = std::max(largest, scores[j]);
    }
    double total = std::exp(static_cast<double>(task.sinks[head]) - largest);
    for (int j = 0; j < task.count; ++j) {
      scores[j] = static_cast<float>(std::exp(static_cast<double>(scores[j]) - largest));
      total += scores[j];
    }
    for (int d = 0; d < width; ++d) {
      double sum = 0;
      for (int j = 0; j < task.count; ++j) {
        sum += static_cast<double>(scores[j]) * rows[static_cast<std::int64_t>(j) * width + d];
      }
      out[d] = static_cast<float>(sum / total);
    }
  }
}

std::int64_t index_scratch(int /*heads*/, int width) noexcept {
  return width;
}

void index_scores(const IndexTask& task) noexcept {
  const int width = task.keys->format.width;
  for (int j = 0; j < task.count; ++j) {
    load(task.keys->format, task.keys->row(task.first + j), task.scratch);
    for (int i = 0; i < task.queries; ++i) {
      const float* weights = task.weights + i * task.weights_stride;
      double sum = 0;
      for (int head = 0; head < task.heads; ++head) {
        const float* q = task.q + i * task.q_stride + static_cast<std::int64_t>(head) * width;
        sum += weights[head] * std::max(0.0, dot(q, task.scratch, width));
      }
      task.scores[i * task.scores_stride + j] = static_cast<float>(sum);
    }
  }
}

}  // namespace

ActivationForm always_f32(Format /*weights*/) noexcept {
  return ActivationForm::f32;
}

void plain_scale(const float* x, double factor, const float* weight, int width, float* y) noexcept {
  for (int i = 0; i < width; ++i) {
    y[i] = static_cast<float>(x[i] * factor * (weight != nullptr ? weight[i] : 1.0F));
  }
}

void plain_swiglu(float* gate, const float* up, int width, float limit) noexcept {
  for (int i = 0; i < width; ++i) {
    const double g = std::min(gate[i], limit);
    const double u = std::clamp(up[i], -limit, limit);
    gate[i] = static_cast<float>(g / (1 + std::exp(-g)) * u);
  }
}

// Without branches: which scores reach the threshold has no pattern.
int plain_list_reaching(const float* scores, int count, float threshold,
                        std::uint32_t* rows) noexcept {
  int found = 0;
  for (int j = 0; j < count; ++j) {
    rows[found] = static_cast<std::uint32_t>(j);
    found += static_cast<int>(!(scores[j] < threshold));
  }
  return found;
}

const Kernels kReference = {
    .name = "reference",
    .form = always_f32,
    .multiply = multiply,
    .round = plain_round,
    .inverse_rms = inverse_rms,
    .scale = plain_scale,
    .combine = combine,
    .expand = expand,
    .swiglu = plain_swiglu,
    .pool = pool,
    .attend = attend,
    .attend_scratch = attend_scratch,
    .index_scores = index_scores,
    .index_scratch = index_scratch,
    .list_reaching = plain_list_reaching,
    .load = engine::load,
};

}  // namespace fathom::engine::cpu
