// How many tokens are drafted: what pays, and never a loss that anybody would notice.
#include "engine/drafting/draft_length.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

constexpr int kAdaptive = -1;

// A machine and a text, in times of a plain pass.
struct World {
  double row = 0.2;        // of each further row of a pass
  double draft = 0.1;      // of each draft
  double right = 0.8;      // share of drafts that are
  bool adversary = false;  // trials are right, drafts that a pass checks are wrong
  double hiccups = 0;      // share of passes with drafts that take four times as long
  double speed = 1;        // divides all times
  double noise = 0;  // times are longer by up to this share; one in 20 takes three times as long
};

// Decodes as a session would and keeps the time.
class Decoding {
 public:
  explicit Decoding(int fixed = kAdaptive) : length_(fixed, kDraftTokensMax) {}

  // Seconds for `tokens` tokens more, where a plain pass takes 1 (without noise).
  double decode(int tokens, const World& world) {
    double seconds = 0;
    const auto took = [&](double plain) {
      double time = plain / world.speed * (1 + world.noise * share());
      if (world.noise > 0 && share() < 0.05) time *= 3;
      seconds += time;
      return time;
    };
    for (int done = 0; done < tokens;) {
      plan_ = length_.next(kDraftTokensMax);
      if (plan_.tokens > 0) length_.drafted(took(world.draft * plan_.tokens));
      const int checked = plan_.checked ? plan_.tokens : 0;
      const bool hiccup = checked > 0 && share() < world.hiccups;
      length_.passed(took((1 + world.row * checked) * (hiccup ? 4 : 1)));
      ++done;
      for (int i = 0; i < plan_.tokens; ++i) {
        const bool right = world.adversary ? !plan_.checked : share() < world.right;
        length_.judged(i, right);
        if (!right) break;
        if (plan_.checked) ++done;
      }
    }
    return seconds;
  }

  DraftPlan last() const noexcept { return plan_; }

 private:
  double share() { return static_cast<double>(random_()) / static_cast<double>(random_.max()); }

  DraftLength length_;
  DraftPlan plan_;
  std::mt19937 random_{7};
};

TEST(DraftLength, DraftsFurtherTheCheaperAndTheSurerItIs) {
  const auto drafts = [](const World& world) {
    Decoding decoding;
    decoding.decode(1000, world);
    return decoding.last().checked ? decoding.last().tokens : 0;
  };
  EXPECT_EQ(drafts({.row = 0.1, .draft = 0.05, .right = 0.95}), 3);
  EXPECT_EQ(drafts({.row = 0.3, .draft = 0.1, .right = 0.6}), 1);
  EXPECT_EQ(drafts({.row = 0.9, .draft = 0.2, .right = 0.95}), 0);
  EXPECT_EQ(drafts({.row = 0.1, .draft = 0.05, .right = 0}), 0);
}

TEST(DraftLength, TakesWhatDraftingGives) {
  // 1 + 0.9 + 0.81 + 0.729 tokens in the time of 1 + 3 · 0.15: 2.37 times as fast.
  Decoding decoding;
  decoding.decode(100, {.row = 0.1, .draft = 0.05, .right = 0.9});
  EXPECT_LT(decoding.decode(2000, {.row = 0.1, .draft = 0.05, .right = 0.9}), 2000 / 2.37 * 1.06);
}

TEST(DraftLength, NeverLosesThreePercent) {
  for (const double row : {0.05, 0.2, 0.5, 0.9, 1.2}) {
    for (const double draft : {0.02, 0.1, 0.3, 1.0}) {
      for (const double right : {0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}) {
        for (const int tokens : {64, 256, 3000}) {
          Decoding decoding;
          const double seconds =
              decoding.decode(tokens, {.row = row, .draft = draft, .right = right});
          // The last pass may give more than was asked.
          EXPECT_LE(seconds, tokens * 1.03 + row * 3) << row << " " << draft << " " << right;
        }
      }
    }
  }
}

TEST(DraftLength, ATextThatTurnsUnpredictableLosesNoMoreThanWasGained) {
  const World easy{.row = 0.3, .draft = 0.1, .right = 0.95};
  const World hard{.row = 0.3, .draft = 0.1, .right = 0};
  Decoding decoding;
  double seconds = 0;
  for (int turn = 0; turn < 20; ++turn) {
    seconds += decoding.decode(30, easy);
    seconds += decoding.decode(300, hard);
    EXPECT_LE(seconds, (turn + 1) * 330 * 1.03);
  }
}

// The worst text there is: right whenever a trial looks, wrong whenever a pass relies on it.
TEST(DraftLength, LosesNoThreePercentToAnAdversary) {
  for (const double row : {0.1, 0.3, 0.9}) {
    for (const double draft : {0.02, 0.1, 0.6}) {
      Decoding decoding;
      double seconds = 0;
      for (int i = 0; i < 3000; ++i) {
        seconds += decoding.decode(1, {.row = row, .draft = draft, .adversary = true});
      }
      EXPECT_LE(seconds, 3000 * 1.03) << row << " " << draft;
    }
  }
}

// The median of a few times looks harmless; what was really spent does not.
TEST(DraftLength, LosesNoThreePercentToTimesThatTheMedianHides) {
  Decoding decoding;
  EXPECT_LE(decoding.decode(3000, {.row = 0.1, .draft = 0.05, .right = 0.6, .hiccups = 0.3}),
            3000 * 1.03);
}

TEST(DraftLength, NoticesThatTheMachineChanged) {
  const World slow{.row = 0.1, .draft = 0.05, .right = 0.7, .speed = 0.5};
  const World fast{.row = 0.9, .draft = 0.05, .right = 0.7};
  Decoding decoding;
  decoding.decode(500, slow);
  decoding.decode(150, fast);
  EXPECT_LE(decoding.decode(1000, fast), 1000 * 1.03);
  decoding.decode(300, slow);
  EXPECT_LE(decoding.decode(1000, slow), 2 * 1000 * 0.7);
}

TEST(DraftLength, NoticesThatRowsBecameCheap) {
  Decoding decoding;
  decoding.decode(500, {.row = 0.9, .draft = 0.05, .right = 0.9});
  decoding.decode(400, {.row = 0.1, .draft = 0.05, .right = 0.9});
  EXPECT_LT(decoding.decode(1000, {.row = 0.1, .draft = 0.05, .right = 0.9}), 1000 / 2.2);
}

TEST(DraftLength, ComesBackWhenATextTurnsPredictable) {
  Decoding decoding;
  decoding.decode(1000, {.right = 0});
  decoding.decode(200, {.right = 1});
  EXPECT_LT(decoding.decode(200, {.right = 1}), 200 / 2.0);
}

TEST(DraftLength, IsNotMisledByDisturbedTimes) {
  const World noisy{.row = 0.15, .draft = 0.05, .right = 0.9, .noise = 0.3};
  Decoding on;
  Decoding off(0);
  EXPECT_LT(on.decode(2000, noisy), off.decode(2000, noisy) / 1.8);
}

TEST(DraftLength, NeverTakesAPassWithDraftsForCheaperThanOneWithout) {
  DraftLength length(kAdaptive, kDraftTokensMax);
  int checked = 0;
  for (int i = 0; i < 1000; ++i) {
    const DraftPlan plan = length.next(kDraftTokensMax);
    const bool drafts = plan.checked && plan.tokens > 0;
    if (plan.tokens > 0) length.drafted(0.01);
    length.passed(drafts ? 0.5 : 1);  // as where another process runs now and then
    if (plan.tokens > 0) length.judged(0, i < 20);
    checked += i > 100 && drafts ? 1 : 0;
  }
  EXPECT_EQ(checked, 0);
}

TEST(DraftLength, StaysWithAFixedNumberAndWithinTheRoom) {
  DraftLength two(2, kDraftTokensMax);
  EXPECT_EQ(two.next(3).tokens, 2);
  EXPECT_EQ(two.next(1).tokens, 1);
  EXPECT_EQ(two.next(0).tokens, 0);
  EXPECT_EQ(DraftLength(0, kDraftTokensMax).next(3).tokens, 0);
  EXPECT_EQ(DraftLength(9, 1).next(3).tokens, 1);
}

}  // namespace
}  // namespace fathom::engine
