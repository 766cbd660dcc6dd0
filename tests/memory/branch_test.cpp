// Forks and rewinds: what is copied, what is kept, and that nothing is ever lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/error.h"
#include "memory/store.h"

namespace fathom::memory {
namespace {

using testing::HasSubstr;

// Two turns of two steps each; every step calls once and has its outcome.
std::string two_turns(Store& store) {
  const std::string id =
      store.create({.workspace = "/w", .model = "m", .fingerprint = "f", .vocabulary = "v"});
  std::int64_t n = 0;
  const auto append = [&](std::string type, int turn, int step) -> Entry {
    Entry entry;
    entry.event = {.n = n,
                   .t = 1,
                   .type = type,
                   .json = "{\"v\":1,\"n\":" + std::to_string(n) + ",\"type\":\"" + type +
                           "\",\"turn\":" + std::to_string(turn) +
                           ",\"step\":" + std::to_string(step) + "}"};
    ++n;
    return entry;
  };
  Entry start = append("start", 0, 0);
  start.tokens = TokensRecord{.tokens = {0}};
  store.append(id, start);
  for (int turn = 1; turn <= 2; ++turn) {
    Entry message = append("turn", turn, 0);
    message.tokens = TokensRecord{.turn = turn, .tokens = {10 * turn}};
    store.append(id, message);
    for (int step = 1; step <= 2; ++step) {
      Entry reply = append("call", turn, step);
      reply.tokens = TokensRecord{.turn = turn,
                                  .step = step,
                                  .source = TokensRecord::Source::sampled,
                                  .tokens = {10 * turn + step},
                                  .calls = 1};
      store.append(id, reply);
      Entry outcome = append("outcome", turn, step);
      outcome.outcome =
          OutcomeRecord{.turn = turn, .step = step, .call = 1, .text = "ok", .full = ""};
      store.append(id, outcome);
      store.append(id, append("step", turn, step));
    }
  }
  return id;
}

std::vector<std::int32_t> timeline(const Store& store, std::string_view id) {
  std::vector<std::int32_t> all;
  for (const TokensRecord& piece : store.tokens(id)) {
    all.insert(all.end(), piece.tokens.begin(), piece.tokens.end());
  }
  return all;
}

// Numbers are contiguous and the last event says what happened.
void expect_whole(const Store& store, std::string_view id, std::string_view kind) {
  const auto events = store.events(id);
  ASSERT_EQ(std::ssize(events), store.conversation(id)->events);
  for (std::size_t n = 0; n < events.size(); ++n) {
    EXPECT_EQ(events[n].n, static_cast<std::int64_t>(n));
  }
  EXPECT_EQ(events.back().type, "note");
  EXPECT_THAT(events.back().json, HasSubstr("\"kind\":\"" + std::string(kind) + "\""));
  EXPECT_THAT(events.back().json, HasSubstr("\"n\":" + std::to_string(events.back().n) + ","));
}

TEST(Branch, AForkCopiesAllAndLeavesTheParentAlone) {
  Store store = Store::in_memory();
  const std::string id = two_turns(store);
  const std::string child = store.fork(id);

  EXPECT_EQ(timeline(store, child), timeline(store, id));
  EXPECT_EQ(store.outcomes(child).size(), 4U);
  EXPECT_EQ(store.conversation(id)->events, 15);
  expect_whole(store, child, "fork");
}

TEST(Branch, AForkAtAStepEndsWithItsOutcomes) {
  Store store = Store::in_memory();
  const std::string id = two_turns(store);
  const std::string child = store.fork(id, StepId{.turn = 2, .step = 1});

  EXPECT_THAT(timeline(store, child), testing::ElementsAre(0, 10, 11, 12, 20, 21));
  EXPECT_EQ(store.outcomes(child).size(), 3U);
  EXPECT_EQ(store.conversation(child)->turns, 2);
  EXPECT_EQ(store.conversation(child)->steps, 3);
  expect_whole(store, child, "fork");
}

TEST(Branch, AForkAtTheBeginningHasTheSystemTextAlone) {
  Store store = Store::in_memory();
  const std::string child = store.fork(two_turns(store), StepId{});

  EXPECT_THAT(timeline(store, child), testing::ElementsAre(0));
  EXPECT_EQ(store.conversation(child)->turns, 0);
  expect_whole(store, child, "fork");
}

TEST(Branch, ARewindKeepsWhatFollowedAsAConversation) {
  Store store = Store::in_memory();
  const std::string id = two_turns(store);
  const auto all = timeline(store, id);
  const std::string branch = store.rewind(id, {.turn = 1, .step = 2});

  EXPECT_THAT(timeline(store, id), testing::ElementsAre(0, 10, 11, 12));
  EXPECT_EQ(store.outcomes(id).size(), 2U);
  EXPECT_EQ(timeline(store, branch), all);
  EXPECT_EQ(store.outcomes(branch).size(), 4U);
  EXPECT_EQ(store.conversation(branch)->events, 15);
  expect_whole(store, id, "rewind");
  EXPECT_THAT(store.events(id).back().json, HasSubstr(branch));
}

TEST(Branch, RefusesStepsThereAreNot) {
  Store store = Store::in_memory();
  const std::string id = two_turns(store);
  EXPECT_THROW(store.rewind(id, {.turn = 3, .step = 1}), Error);
  EXPECT_THROW(store.fork(id, StepId{.turn = 1, .step = 3}), Error);
  EXPECT_THROW(store.fork("NOBODY"), Error);
  EXPECT_EQ(store.list(10).size(), 1U);
  EXPECT_EQ(timeline(store, id).size(), 7U);
}

TEST(Branch, GoesBackToTheFirstOpeningWhenALaterOneReplacedIt) {
  Store store = Store::in_memory();
  const std::string id = two_turns(store);
  Entry again;
  again.event = {.n = store.conversation(id)->events, .t = 1, .type = "start", .json = "{}"};
  again.tokens = TokensRecord{.tokens = {7}};
  store.append(id, again);

  store.rewind(id, {});

  EXPECT_EQ(timeline(store, id), (std::vector<std::int32_t>{0}));
}

}  // namespace
}  // namespace fathom::memory
