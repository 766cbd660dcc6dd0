// How many tokens are worth drafting: as many as measurably pay, none where drafting does not.
#pragma once

#include <array>

namespace fathom::engine {

inline constexpr int kDraftTokensMax = 3;

// What is drafted before a pass.
struct DraftPlan {
  int tokens = 0;
  bool checked = true;  // false: the pass is a plain one; drafts are held against what comes
};

// The median of the last few seconds that something took: one disturbed measurement does not count.
class Seconds {
 public:
  void add(double seconds) noexcept;
  bool known(int at_least = 1) const noexcept { return count_ >= at_least; }
  double median() const noexcept;

 private:
  std::array<double, 3> last_{};
  int count_ = 0;
};

// A pass that checks k drafts takes the time of 1 + k rows and of drafting, and gives 1 + j tokens
// where the first j drafts were right. Both are measured: times as medians, how often the i-th
// draft is right (where those before it were) as a mean over about the last 16. The k of the most
// tokens per second is chosen, and only if that is worth more than noise.
//
// An account holds the promise not to be slower than without drafts. It is paid a small share of
// the time of plain passes, and what drafting gains; trials and losses are taken from it, and while
// it is empty nothing is drafted. So the loss stays below that share whatever text and machine do.
class DraftLength {
 public:
  // `fixed`: always so many; negative: as said above.
  DraftLength(int fixed, int tokens_max) noexcept : fixed_(fixed), tokens_max_(tokens_max) {}

  // For the next pass, which has room for so many drafts.
  DraftPlan next(int room) noexcept;

  // What became of the plan.
  void drafted(double seconds) noexcept;           // drafting took that long
  void passed(double seconds) noexcept;            // and so did the pass
  void judged(int index, bool accepted) noexcept;  // its index-th draft, in order

 private:
  struct Share {
    double value = 0.5;
    int count = 0;
  };

  int best(int room) const noexcept;
  void plan_trial() noexcept;
  double pass_seconds(int drafts) const noexcept;
  double draft_seconds(int drafts) const noexcept;
  void settle_account() noexcept;

  int fixed_;
  int tokens_max_;
  std::array<Seconds, kDraftTokensMax + 1> passes_;  // by drafts
  std::array<Seconds, kDraftTokensMax + 1> drafts_;  // by drafts; [0]: of a trial
  std::array<Share, kDraftTokensMax> accepted_;      // by index
  DraftPlan plan_;
  bool trial_ = false;  // the plan is not expected to pay
  double spent_ = 0;    // seconds on the plan
  int gained_ = 0;      // tokens that it gave beyond the first
  double account_ = 0;  // seconds
  int passes_planned_ = 0;
};

}  // namespace fathom::engine
