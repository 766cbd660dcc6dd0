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

// Of the time that decoding leaves, what prefill may use: layers differ, and so do tokens. And the
// part of that from which on a layer is let be.
constexpr double kSlackUsed = 0.75;
constexpr double kNearTarget = 0.9;
constexpr double kLeastOfToken = 0.3;
// Passes beside decoding grow and shrink by at most this.
constexpr double kStepMax = 4;

// For so many tokens after prefill began, what a token alone takes is what it took before.
constexpr int kComparedTokens = 16;

void follow(double& mean, double seconds) noexcept {
  mean = mean == 0 ? seconds : mean + kNew * (std::min(seconds, kOutlier * mean) - mean);
}

}  // namespace

void Pace::decoded(int rows, double seconds, Turns turns) noexcept {
  assert(rows > 0);
  follow(decode_seconds_[static_cast<std::size_t>(std::min(rows, kDecodeRowsMax))], seconds);
  if (rows > 1) return;
  if (turns == Turns::alone) {
    follow(alone_seconds_, seconds);
    tokens_beside_ = 0;
  } else if (tokens_beside_ < kComparedTokens) {
    ++tokens_beside_;
    if (alone_seconds_ > 0) follow(slowdown_, std::max(1.0, seconds / alone_seconds_));
  }
}

void Pace::prefilled(int rows, double layer_seconds, Turns turns) noexcept {
  assert(rows > 0);
  if (turns == Turns::beside) {
    follow(layer_seconds_, layer_seconds);
    const double target = layer_target();
    const bool small = layer_seconds < kNearTarget * target;
    if (target == 0 || (rows < rows_beside_ && small)) return;
    if (!small && layer_seconds <= target) return;
    // A layer of twice the rows takes at most twice as long, so what grows stays below.
    const double step = std::clamp(target / layer_seconds, 1 / kStepMax, kStepMax);
    rows_beside_ = std::clamp(static_cast<int>(rows * step), kRowsMin, kRowsMax);
    return;
  }
  if (whole_pages_ || rows != rows_) return;
  if (layer_seconds > kLayerSecondsMax) rows_ = std::max(kRowsMin, rows / 2);
  if (layer_seconds < kLayerSecondsMin) rows_ = std::min(kRowsMax, rows * 2);
}

double Pace::alone_seconds() const noexcept {
  if (alone_seconds_ > 0 && tokens_beside_ < kComparedTokens) return alone_seconds_;
  return decode_seconds(1) / slowdown_;
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
  return kSlackUsed * (delay_factor_ * alone_seconds() - decode_seconds(rows));
}

bool Pace::fits(int rows) const noexcept {
  return decode_seconds(rows) <= delay_factor_ * alone_seconds();
}

// At least some of a token's time: a layer takes that long anyway if there are few of them.
double Pace::layer_target() const noexcept {
  const double target = std::max(slack(1), kLeastOfToken * alone_seconds());
  return whole_pages_ ? target : std::min(target, kLayerSecondsMax);
}

int Pace::prefill_rows(bool decoding) const noexcept {
  return decoding && alone_seconds() > 0 ? rows_beside_ : rows_;
}

}  // namespace fathom::engine
