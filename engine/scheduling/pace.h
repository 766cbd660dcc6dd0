// Pace: how long passes take on this machine, and how prefill is cut so that decoding goes on.
#pragma once

#include <array>

namespace fathom::engine {

// Prefill and decode take turns between layers: after a pass of all sessions that decode, layers of
// a prefill pass run for as long as the next tokens may be late. A prefill pass that is paused
// keeps its rows, so that weights are still read once for many tokens, which small chunks mixed
// into decode passes would not have: of a model with many experts every few rows want other ones.
//
// Times are what the last passes took. They follow the machine and the depth of the sessions; one
// disturbed pass moves them little.
class Pace {
 public:
  // `delay_factor`: see SchedulingOptions. `whole_pages`: prefill passes are of kRowsMax tokens
  // however long a layer takes; where experts are read from disk each pass asks for nearly all of
  // them, so that fewer tokens cost as much.
  explicit Pace(double delay_factor, bool whole_pages = false)
      : delay_factor_(delay_factor),
        whole_pages_(whole_pages),
        rows_(whole_pages ? kRowsMax : kRowsFirst) {}

  // What passes took: a decode pass of `rows` tokens, one layer of a prefill pass of so many.
  void decoded(int rows, double seconds) noexcept;
  void prefilled(int rows, double layer_seconds) noexcept;

  // Expected times; 0 while nothing is known.
  double decode_seconds(int rows) const noexcept;
  double alone_seconds() const noexcept { return decode_seconds(1); }
  double layer_seconds(int rows) const noexcept { return rows * row_seconds_; }

  // How long a pass of so many rows can be put off for tokens that were asked for just now.
  double slack(int rows) const noexcept;
  // Whether tokens of so many sessions may be computed together without any being late.
  bool fits(int rows) const noexcept;

  // Tokens of the next prefill pass. `decoding`: sessions decode beside it.
  int prefill_rows(bool decoding) const noexcept;

  static constexpr int kRowsMin = 16;
  static constexpr int kRowsMax = 128;  // a page; more gain little and take more memory
  static constexpr int kDecodeRowsMax = 64;

 private:
  static constexpr int kRowsFirst = 32;

  double delay_factor_;
  bool whole_pages_;
  std::array<double, kDecodeRowsMax + 1> decode_seconds_{};  // by rows; 0: not measured
  double row_seconds_ = 0;                                   // of a layer, for each row
  int rows_;  // of prefill alone: so many that a layer takes less than a stop may
};

}  // namespace fathom::engine
