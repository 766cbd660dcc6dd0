// How prefill is cut beside sessions that decode.
#include "engine/scheduling/pace.h"

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

using Turns = Pace::Turns;

TEST(Pace, KnowsNothingAtFirst) {
  const Pace pace(2);
  EXPECT_EQ(pace.decode_seconds(1), 0);
  EXPECT_EQ(pace.slack(1), 0);
  EXPECT_GE(pace.prefill_rows(/*decoding=*/true), Pace::kRowsMin);
}

TEST(Pace, TakesUnmeasuredPassesForTheNearestOnes) {
  Pace pace(2);
  pace.decoded(2, 0.06, Turns::alone);
  pace.decoded(8, 0.1, Turns::alone);
  EXPECT_EQ(pace.decode_seconds(1), 0.06);
  EXPECT_EQ(pace.decode_seconds(7), 0.06);
  EXPECT_EQ(pace.decode_seconds(8), 0.1);
  EXPECT_EQ(pace.decode_seconds(1000), 0.1);
}

TEST(Pace, LetsOneDisturbedPassMoveLittle) {
  Pace pace(2);
  for (int i = 0; i < 10; ++i) pace.decoded(1, 0.05, Turns::alone);
  pace.decoded(1, 30, Turns::alone);
  EXPECT_LT(pace.alone_seconds(), 0.07);
  for (int i = 0; i < 20; ++i) pace.decoded(1, 0.05, Turns::alone);
  EXPECT_NEAR(pace.alone_seconds(), 0.05, 0.001);
}

// By three quarters of what it leaves.
TEST(Pace, PutsTokensOffByTheFactor) {
  Pace two(2), four(4);
  for (Pace* pace : {&two, &four}) {
    pace->decoded(1, 0.05, Turns::alone);
    pace->decoded(6, 0.08, Turns::alone);
    pace->decoded(8, 0.13, Turns::alone);
  }
  EXPECT_NEAR(two.slack(1), 0.0375, 1e-9);
  EXPECT_NEAR(two.slack(6), 0.015, 1e-9);
  EXPECT_LT(two.slack(8), 0);
  EXPECT_NEAR(four.slack(1), 0.1125, 1e-9);
  EXPECT_TRUE(two.fits(6));
  EXPECT_FALSE(two.fits(8));
}

// A machine on which a layer takes 10 ms and 0.5 ms for each row.
double layer_of(int rows) {
  return 0.01 + 0.0005 * rows;
}

TEST(Pace, CutsPrefillToWhatDecodingLeaves) {
  Pace pace(2);
  pace.decoded(1, 0.05, Turns::alone);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), 32);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/true), Pace::kRowsMin);  // from below
  for (int i = 0; i < 6; ++i) {
    const int rows = pace.prefill_rows(/*decoding=*/true);
    pace.prefilled(rows, layer_of(rows), Turns::beside);
    EXPECT_LT(layer_of(pace.prefill_rows(/*decoding=*/true)), pace.slack(1));
  }
  EXPECT_GT(pace.prefill_rows(/*decoding=*/true), 32);
  EXPECT_GT(layer_of(pace.prefill_rows(/*decoding=*/true)), pace.slack(1) / 2);
  for (int i = 0; i < 8; ++i) {  // deeper rows take longer
    pace.prefilled(pace.prefill_rows(/*decoding=*/true), 0.2, Turns::beside);
  }
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/true), Pace::kRowsMin);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), 32);
}

TEST(Pace, LearnsNothingOfFullPassesFromTheEndOfAPrompt) {
  Pace pace(2);
  pace.decoded(1, 0.05, Turns::alone);
  pace.prefilled(Pace::kRowsMin, 0.02, Turns::beside);
  const int rows = pace.prefill_rows(/*decoding=*/true);
  EXPECT_GT(rows, Pace::kRowsMin);
  pace.prefilled(4, 0.01, Turns::beside);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/true), rows);
  pace.prefilled(4, 0.1, Turns::beside);  // but where even few take too long, many do
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/true), Pace::kRowsMin);
}

// Tokens beside prefill take longer, and must not count as what one takes alone.
TEST(Pace, KnowsWhatATokenAloneTakes) {
  Pace pace(2);
  for (int i = 0; i < 20; ++i) pace.decoded(1, 0.05, Turns::alone);
  for (int i = 0; i < 100; ++i) pace.decoded(1, 0.06, Turns::beside);
  EXPECT_NEAR(pace.alone_seconds(), 0.05, 0.001);
  EXPECT_NEAR(pace.slack(1), 0.03, 0.001);
  // Another session, of deeper rows, that is never alone.
  for (int i = 0; i < 100; ++i) pace.decoded(1, 0.12, Turns::beside);
  EXPECT_NEAR(pace.alone_seconds(), 0.1, 0.002);
}

TEST(Pace, GrowsAndShrinksPassesByTheTimeOfALayer) {
  Pace pace(2);
  for (int rows : {32, 64, 128}) pace.prefilled(rows, 0.01, Turns::alone);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMax);
  for (int rows : {128, 64, 32, 16}) pace.prefilled(rows, 0.2, Turns::alone);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMin);
  pace.prefilled(4, 0.01, Turns::alone);  // the end of a prompt says nothing about full passes
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMin);
}

TEST(Pace, KeepsWholePagesWhereItIsAsked) {
  Pace pace(2, /*whole_pages=*/true);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMax);
  for (int i = 0; i < 4; ++i) pace.prefilled(Pace::kRowsMax, 2, Turns::alone);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMax);
}

}  // namespace
}  // namespace fathom::engine
