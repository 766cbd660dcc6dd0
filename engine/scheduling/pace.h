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
// disturbed pass moves them little. A token that is alone takes less than one between layers of
// prefill, which leave nothing of it in the caches: how much less is learnt where one turns into
// the other.
class Pace {
 public:
  // `delay_factor`: see SchedulingOptions. `whole_pages`: prefill passes are of kRowsMax tokens
  // however long a layer takes; where experts are read from disk each pass asks for nearly all of
  // them, so that fewer tokens cost as much.
  explicit Pace(double delay_factor, bool whole_pages = false)
      : delay_factor_(delay_factor),
        whole_pages_(whole_pages),
        rows_(whole_pages ? kRowsMax : kRowsFirst) {}

  // Whether a pass took turns with one of the other kind.
  enum class Turns { alone, beside };

  // What passes took: a decode pass of `rows` tokens, the slowest layer of a prefill pass of so
  // many.
  void decoded(int rows, double seconds, Turns turns) noexcept;
  void prefilled(int rows, double layer_seconds, Turns turns) noexcept;

  // Expected times as things are now; 0 while nothing is known.
  double decode_seconds(int rows) const noexcept;
  double layer_seconds() const noexcept { return layer_seconds_; }  // of prefill beside decoding
  // Of one token if nobody else were there.
  double alone_seconds() const noexcept;

  // How long a pass of so many rows can be put off for tokens that were asked for just now, with
  // something left for what nobody foresees.
  double slack(int rows) const noexcept;
  // Whether tokens of so many sessions may be computed together without any being late.
  bool fits(int rows) const noexcept;

  // Tokens of the next prefill pass. `decoding`: sessions decode beside it.
  int prefill_rows(bool decoding) const noexcept;

  static constexpr int kRowsMin = 8;
  static constexpr int kRowsMax = 128;  // a page; more gain little and take more memory
  static constexpr int kDecodeRowsMax = 64;

 private:
  static constexpr int kRowsFirst = 32;

  double layer_target() const noexcept;

  double delay_factor_;
  bool whole_pages_;
  std::array<double, kDecodeRowsMax + 1> decode_seconds_{};  // by rows; 0: not measured
  double alone_seconds_ = 0;  // of one token, measured while nobody prefilled
  double slowdown_ = 1;       // of one token by prefill beside it
  int tokens_beside_ = 0;     // since alone_seconds_ was measured
  double layer_seconds_ = 0;
  int rows_;                    // of prefill alone: so many that a layer takes less than a stop may
  int rows_beside_ = kRowsMin;  // of prefill beside decoding
};

}  // namespace fathom::engine
