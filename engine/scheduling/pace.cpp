// Running means of pass times, and the decisions that follow from them.
#include "engine/scheduling/pace.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

namespace fathom::engine {
namespace {

// A pass can be ended after every layer, so a layer must take less than the 0.2 s in which a stop
// is promised.
constexpr double kLayerSecondsMax = 0.15;
constexpr double kLayerSecondsMin = 0.05;

// Weight of a new time in the mean; and how many times the mean it may count as.
constexpr double kNew = 0.25;
constexpr double kOutlier = 2;

// Of the time that decoding leaves, what a layer of prefill is cut to: layers differ.
constexpr double kSlackUsed = 0.8;

void follow(double& mean, double seconds) noexcept {
  mean = mean == 0 ? seconds : mean + kNew * (std::min(seconds, kOutlier * mean) - mean);
}

}  // namespace

void Pace::decoded(int rows, double seconds) noexcept {
  assert(rows > 0);
  follow(decode_seconds_[static_cast<std::size_t>(std::min(rows, kDecodeRowsMax))], seconds);
}

void Pace::prefilled(int rows, double layer_seconds) noexcept {
  assert(rows > 0);
  follow(row_seconds_, layer_seconds / rows);
  if (whole_pages_ || rows != rows_) return;
  if (layer_seconds > kLayerSecondsMax) rows_ = std::max(kRowsMin, rows / 2);
  if (layer_seconds < kLayerSecondsMin) rows_ = std::min(kRowsMax, rows * 2);
}

// Of passes that were not measured: as the nearest smaller one, or else the nearest larger one.
double Pace::decode_seconds(int rows) const noexcept {
  const auto known = [](double seconds) { return seconds > 0; };
  const auto at = decode_seconds_.begin() + std::clamp(rows, 1, kDecodeRowsMax);
  const auto smaller =
      std::find_if(std::make_reverse_iterator(at + 1), decode_seconds_.rend(), known);
  if (smaller != decode_seconds_.rend()) return *smaller;
  const auto larger = std::find_if(at, decode_seconds_.end(), known);
  return larger != decode_seconds_.end() ? *larger : 0;
}

double Pace::slack(int rows) const noexcept {
  return delay_factor_ * alone_seconds() - decode_seconds(rows);
}

bool Pace::fits(int rows) const noexcept {
  return decode_seconds(rows) <= delay_factor_ * alone_seconds();
}

int Pace::prefill_rows(bool decoding) const noexcept {
  if (!decoding || row_seconds_ == 0 || alone_seconds() == 0) return rows_;
  // At least half a token's time: a layer takes that long anyway if there are few of them.
  const double seconds = kSlackUsed * std::max(delay_factor_ - 1, 0.5) * alone_seconds();
  return std::clamp(static_cast<int>(seconds / row_seconds_), kRowsMin, rows_);
}

}  // namespace fathom::engine
