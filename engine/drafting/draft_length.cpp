// Chooses the length of drafts from measured times and shares.
#include "engine/drafting/draft_length.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

namespace fathom::engine {
namespace {

// Of the time of plain passes that trials may take: a third of the 3 % that drafting may ever cost.
constexpr double kAllowance = 0.01;
// Plain passes before the first draft: the very first one may wait for weights from the disk.
constexpr int kPlainFirst = 3;
// The account in plain passes: at first, so that a short text is tried too, and at most, so that a
// text that turns unpredictable cannot lose all that was gained before.
constexpr double kAccountFirst = 0.5;
constexpr double kAccountMax = 8;
// Drafting must be so much faster than not: less is within the noise of the times.
constexpr double kWorthwhile = 1.02;
constexpr double kMemory = 16;  // drafts that a share looks back
// Passes between looks at the times of other lengths, which change with depth and with the machine.
constexpr int kLookEvery = 32;
// Until it is measured: of a plain pass, what another row takes, and what a draft takes.
constexpr double kRowGuess = 0.2;
constexpr double kDraftGuess = 0.1;

std::size_t at(int index) noexcept {
  return static_cast<std::size_t>(index);
}

}  // namespace

void Seconds::add(double seconds) noexcept {
  last_[at(count_) % last_.size()] = seconds;
  ++count_;
}

double Seconds::median() const noexcept {
  std::array<double, 3> sorted = last_;
  const auto count = std::min<std::ptrdiff_t>(count_, std::ssize(sorted));
  const auto middle = sorted.begin() + (count - 1) / 2;
  std::partial_sort(sorted.begin(), middle + 1, sorted.begin() + count);
  return *middle;
}

double DraftLength::pass_seconds(int drafts) const noexcept {
  const double plain = passes_[0].median();
  // A plain pass may have been disturbed, but is never the dearer one.
  if (passes_[at(drafts)].known()) return std::max(plain, passes_[at(drafts)].median());
  if (drafts == 1) return plain * (1 + kRowGuess);
  const double one_less = pass_seconds(drafts - 1);
  return one_less + std::max(0.0, one_less - plain) / (drafts - 1);
}

double DraftLength::draft_seconds(int drafts) const noexcept {
  if (drafts_[at(drafts)].known()) return drafts_[at(drafts)].median();
  const double one = drafts_[1].known() ? drafts_[1].median() : kDraftGuess * passes_[0].median();
  return one * drafts;
}

// The number of drafts of the most tokens per second.
int DraftLength::best(int room) const noexcept {
  int best = 0;
  double best_rate = kWorthwhile / passes_[0].median();
  double tokens = 1;
  double reached = 1;
  double share = accepted_[0].value;
  for (int drafts = 1; drafts <= std::min(room, tokens_max_); ++drafts) {
    // A draft that was never judged is taken for as good as the one before it.
    if (accepted_[at(drafts - 1)].count > 0) share = accepted_[at(drafts - 1)].value;
    reached *= share;
    tokens += reached;
    const double rate = tokens / (pass_seconds(drafts) + draft_seconds(drafts));
    if (rate <= best_rate) continue;
    best = drafts;
    best_rate = rate;
  }
  return best;
}

DraftPlan DraftLength::next(int room) noexcept {
  settle_account();
  ++passes_planned_;
  plan_ = {};
  trial_ = false;
  if (fixed_ >= 0) {
    plan_.tokens = std::min({fixed_, room, tokens_max_});
  } else if (room > 0 && passes_[0].known(kPlainFirst) && account_ > 0) {
    plan_.tokens = best(room);
    if (plan_.tokens == 0) {
      plan_trial();
    } else if (passes_planned_ % kLookEvery == 0) {
      plan_.tokens = 0;
    } else if (passes_planned_ % kLookEvery == kLookEvery / 2) {
      plan_.tokens = std::min({plan_.tokens + 1, room, tokens_max_});
    }
  }
  return plan_;
}

// One draft, if the account allows it. Where drafts were right so often that they would pay if only
// rows were cheap, the pass checks it, to see what rows cost now.
void DraftLength::plan_trial() noexcept {
  const double plain = passes_[0].median();
  const double draft = drafts_[0].known() ? drafts_[0].median() : 0;
  const double row = pass_seconds(1) - plain;
  const bool checked =
      accepted_[0].count > 0 &&
      (1 + accepted_[0].value) * plain > kWorthwhile * ((1 + kRowGuess) * plain + draft_seconds(1));
  if (account_ <= draft + (checked ? row : 0)) return;
  plan_ = {.tokens = 1, .checked = checked};
  trial_ = true;
}

void DraftLength::drafted(double seconds) noexcept {
  spent_ += seconds;
  drafts_[trial_ ? 0 : at(plan_.tokens)].add(seconds);
}

void DraftLength::passed(double seconds) noexcept {
  const int drafts = plan_.checked ? plan_.tokens : 0;
  passes_[at(drafts)].add(seconds);
  if (drafts == 0 && !passes_[0].known(kPlainFirst + 1))
    account_ = kAccountFirst * passes_[0].median();
  if (drafts > 0) {
    spent_ += seconds;
  } else {
    account_ += kAllowance * seconds;
  }
}

void DraftLength::judged(int index, bool accepted) noexcept {
  assert(index < plan_.tokens);
  Share& share = accepted_[at(index)];
  ++share.count;
  const double weight = std::max(1.0 / (share.count + 1), 1 / kMemory);
  share.value += weight * ((accepted ? 1 : 0) - share.value);
  if (accepted && plan_.checked) ++gained_;
}

// Books the last plan, of which all is known now.
void DraftLength::settle_account() noexcept {
  if (plan_.tokens > 0) {
    const double plain = passes_[0].known() ? passes_[0].median() : 0;
    const double worth = plan_.checked ? (1 + gained_) * plain : 0;
    account_ = std::min(account_ + worth - spent_, kAccountMax * plain);
  }
  spent_ = 0;
  gained_ = 0;
}

}  // namespace fathom::engine
