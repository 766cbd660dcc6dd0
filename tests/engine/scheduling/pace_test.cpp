// How prefill is cut beside sessions that decode.
#include "engine/scheduling/pace.h"

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

TEST(Pace, KnowsNothingAtFirst) {
  const Pace pace(2);
  EXPECT_EQ(pace.decode_seconds(1), 0);
  EXPECT_EQ(pace.slack(1), 0);
  EXPECT_GE(pace.prefill_rows(/*decoding=*/true), Pace::kRowsMin);
}

TEST(Pace, TakesUnmeasuredPassesForTheNearestOnes) {
  Pace pace(2);
  pace.decoded(2, 0.06);
  pace.decoded(8, 0.1);
  EXPECT_EQ(pace.decode_seconds(1), 0.06);
  EXPECT_EQ(pace.decode_seconds(7), 0.06);
  EXPECT_EQ(pace.decode_seconds(8), 0.1);
  EXPECT_EQ(pace.decode_seconds(1000), 0.1);
}

TEST(Pace, LetsOneDisturbedPassMoveLittle) {
  Pace pace(2);
  for (int i = 0; i < 10; ++i) pace.decoded(1, 0.05);
  pace.decoded(1, 30);
  EXPECT_LT(pace.alone_seconds(), 0.07);
  for (int i = 0; i < 20; ++i) pace.decoded(1, 0.05);
  EXPECT_NEAR(pace.alone_seconds(), 0.05, 0.001);
}

TEST(Pace, PutsTokensOffByTheFactor) {
  Pace two(2), four(4);
  for (Pace* pace : {&two, &four}) {
    pace->decoded(1, 0.05);
    pace->decoded(6, 0.08);
    pace->decoded(8, 0.13);
  }
  EXPECT_NEAR(two.slack(1), 0.05, 1e-9);
  EXPECT_NEAR(two.slack(6), 0.02, 1e-9);
  EXPECT_LT(two.slack(8), 0);
  EXPECT_NEAR(four.slack(1), 0.15, 1e-9);
  EXPECT_TRUE(two.fits(6));
  EXPECT_FALSE(two.fits(8));
}

TEST(Pace, CutsPrefillToWhatDecodingLeaves) {
  Pace pace(2);
  pace.decoded(1, 0.05);
  pace.prefilled(32, 0.064);  // 2 ms a row
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), 32);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/true), 20);  // 40 of 50 ms
  for (int i = 0; i < 50; ++i) pace.prefilled(20, 0.2);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/true), Pace::kRowsMin);
}

TEST(Pace, GrowsAndShrinksPassesByTheTimeOfALayer) {
  Pace pace(2);
  for (int rows : {32, 64, 128}) pace.prefilled(rows, 0.01);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMax);
  for (int rows : {128, 64, 32, 16}) pace.prefilled(rows, 0.2);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMin);
  pace.prefilled(8, 0.01);  // the end of a prompt says nothing about full passes
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMin);
}

TEST(Pace, KeepsWholePagesWhereItIsAsked) {
  Pace pace(2, /*whole_pages=*/true);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMax);
  for (int i = 0; i < 4; ++i) pace.prefilled(Pace::kRowsMax, 2);
  EXPECT_EQ(pace.prefill_rows(/*decoding=*/false), Pace::kRowsMax);
}

}  // namespace
}  // namespace fathom::engine
