// Who makes room: what is expected to be needed last.
#include "engine/offload/frame_table.h"

#include <algorithm>
#include <list>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

constexpr double kAny = -1;  // make room whatever waits there

std::vector<int> counts_of(int experts, const std::vector<int>& chosen) {
  std::vector<int> counts(static_cast<std::size_t>(experts));
  for (const int expert : chosen) ++counts[static_cast<std::size_t>(expert)];
  return counts;
}

// Asks for one layer's experts as a cache does; returns how many had a frame.
int ask(FrameTable& table, int layer, int experts, const std::vector<int>& chosen, int rows) {
  table.turn(layer, counts_of(experts, chosen), rows);
  int hits = 0;
  for (const int expert : chosen) {
    if (table.find(layer, expert) >= 0) {
      ++hits;
      continue;
    }
    table.assign(table.choose(kAny), layer, expert);
  }
  return hits;
}

TEST(FrameTable, FillsEmptyFramesFirst) {
  FrameTable table(2, 4, 2, 0.25);
  table.assign(table.choose(kAny), 0, 3);
  table.assign(table.choose(kAny), 1, 3);

  EXPECT_GE(table.find(0, 3), 0);
  EXPECT_GE(table.find(1, 3), 0);
  EXPECT_EQ(table.find(0, 0), -1);
}

TEST(FrameTable, KeepsWhatIsUsedOftenAndWhatWasJustUsed) {
  FrameTable table(1, 4, 3, 0.25);
  for (int i = 0; i < 100; ++i) ask(table, 0, 4, {0}, 1);
  ask(table, 0, 4, {1}, 1);
  for (int i = 0; i < 4; ++i) ask(table, 0, 4, {2}, 1);

  ask(table, 0, 4, {3}, 1);

  EXPECT_GE(table.find(0, 0), 0) << "used often";
  EXPECT_EQ(table.find(0, 1), -1) << "used once, long ago";
  EXPECT_GE(table.find(0, 2), 0) << "used just now";
}

TEST(FrameTable, TakesNoHeldFrame) {
  FrameTable table(1, 4, 2, 0.25);
  table.assign(0, 0, 0);
  table.assign(1, 0, 1);
  table.hold(0);
  table.hold(1);
  EXPECT_EQ(table.choose(kAny), -1);

  table.release(1);
  EXPECT_EQ(table.choose(kAny), 1);
}

TEST(FrameTable, MakesRoomForAGuessOnlyWhereMoreIsNeededLater) {
  FrameTable table(3, 4, 1, 0.25);
  table.turn(0, counts_of(4, {0}), 1);
  table.assign(0, 1, 2);  // of the next layer

  EXPECT_EQ(table.choose(table.wait_if(2, 0.25)), -1);
  EXPECT_EQ(table.choose(table.wait_if(1, 0.5)), 0);
}

// A prefill asks for every expert of layer after layer. Recency alone would always throw out what
// comes next and hit nothing; of a cycle the best is to keep as much of it as fits.
TEST(FrameTable, KeepsHalfOfACycleInHalfTheFrames) {
  constexpr int kLayers = 6, kExperts = 16;
  FrameTable table(kLayers, kExperts, kLayers * kExperts / 2, 0.1);
  std::vector<int> all(kExperts);
  std::iota(all.begin(), all.end(), 0);
  int hits = 0;
  for (int pass = 0; pass < 20; ++pass) {
    for (int layer = 0; layer < kLayers; ++layer) {
      const int found = ask(table, layer, kExperts, all, 128);
      if (pass >= 10) hits += found;
    }
  }
  EXPECT_GE(hits, 10 * kLayers * kExperts * 9 / 20);
}

// Decoding: each layer likes some experts better, and what it chose last a little more.
TEST(FrameTable, HitsMoreOftenThanLeastRecentlyUsed) {
  constexpr int kLayers = 4, kExperts = 32, kChosen = 4, kFrames = kLayers * kExperts / 2;
  FrameTable table(kLayers, kExperts, kFrames, 1.0 * kChosen / kExperts);
  std::list<std::pair<int, int>> recent;
  std::mt19937 random(3);
  std::vector<double> liking(kExperts);
  for (int e = 0; e < kExperts; ++e) liking[static_cast<std::size_t>(e)] = 1.0 / (1 + e);
  int hits = 0, recent_hits = 0;
  for (int token = 0; token < 1000; ++token) {
    for (int layer = 0; layer < kLayers; ++layer) {
      std::discrete_distribution<int> choose(liking.begin(), liking.end());
      std::vector<int> chosen;
      while (std::ssize(chosen) < kChosen) {
        const int expert = (choose(random) * 7 + layer) % kExperts;
        if (std::ranges::count(chosen, expert) == 0) chosen.push_back(expert);
      }
      hits += ask(table, layer, kExperts, chosen, 1);
      for (const int expert : chosen) {
        const auto found = std::ranges::find(recent, std::pair(layer, expert));
        if (found != recent.end()) {
          ++recent_hits;
          recent.erase(found);
        }
        recent.emplace_front(layer, expert);
        if (std::ssize(recent) > kFrames) recent.pop_back();
      }
    }
  }
  EXPECT_GT(hits, recent_hits);
}

}  // namespace
}  // namespace fathom::engine
