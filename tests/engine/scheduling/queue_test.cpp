// Who of those that wait goes next.
#include "engine/scheduling/queue.h"

#include <chrono>
#include <stop_token>
#include <vector>

#include <gtest/gtest.h>

#include "engine/model/engine_parts.h"
#include "test_paths.h"

namespace fathom::engine {
namespace {

using std::chrono::milliseconds;

constexpr double kPatienceSeconds = 2;

// Requests of sessions, none of which is ever computed.
class QueueTest : public testing::Test {
 protected:
  // A session that asks for so many tokens, so long ago.
  struct Asking {
    Asking(KvCache& cache, std::span<const Token> tokens, Priority priority, Queue::Time arrived,
           std::stop_token stop)
        : request{.cache = cache, .tokens = tokens, .before = before, .stop = std::move(stop)},
          seat{.priority = priority},
          job(request, seat, arrived) {}

    Snapshot before;
    Request request;
    Seat seat;
    Job job;
  };

  std::unique_ptr<Asking> asking(int tokens, Priority priority, milliseconds ago,
                                 std::stop_token stop = {}) {
    auto made =
        std::make_unique<Asking>(cache_, std::span(tokens_).first(static_cast<std::size_t>(tokens)),
                                 priority, now_ - ago, std::move(stop));
    queue_.add(made->job);
    return made;
  }

  Job* next(bool decodes) { return queue_.first(decodes, now_); }

  const std::shared_ptr<const Engine> engine_ =
      Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / "gb" / "hf", {.threads = 1});
  KvCache cache_{engine_->parts().shape};
  const std::vector<Token> tokens_ = std::vector<Token>(100);
  const Queue::Time now_ = Report::Clock::now();
  Queue queue_{16, kPatienceSeconds};
};

TEST_F(QueueTest, IsEmptyAtFirst) {
  EXPECT_EQ(next(/*decodes=*/true), nullptr);
  EXPECT_EQ(next(/*decodes=*/false), nullptr);
}

TEST_F(QueueTest, TakesEqualOnesInTheOrderInWhichTheyCame) {
  const auto first = asking(1, Priority::helper, milliseconds(20));
  const auto second = asking(1, Priority::helper, milliseconds(10));
  EXPECT_EQ(next(/*decodes=*/true), &first->job);
  queue_.remove(first->job);
  EXPECT_EQ(next(/*decodes=*/true), &second->job);
  queue_.add(first->job);  // it is back
  EXPECT_EQ(next(/*decodes=*/true), &second->job);
}

TEST_F(QueueTest, TakesTheHighestPriorityFirst) {
  const auto batch = asking(1, Priority::batch, milliseconds(30));
  const auto helper = asking(1, Priority::helper, milliseconds(20));
  const auto interactive = asking(1, Priority::interactive, milliseconds(10));
  EXPECT_EQ(next(/*decodes=*/true), &interactive->job);
  queue_.remove(interactive->job);
  EXPECT_EQ(next(/*decodes=*/true), &helper->job);
}

TEST_F(QueueTest, RaisesWhoWaitedLong) {
  const auto batch = asking(1, Priority::batch, milliseconds(4100));
  const auto interactive = asking(1, Priority::interactive, milliseconds(10));
  EXPECT_EQ(next(/*decodes=*/true), &batch->job);
  EXPECT_EQ(queue_.rank(batch->job, now_), 2);
  EXPECT_EQ(queue_.rank(batch->job, now_ + std::chrono::hours(1000)), 1000);
}

TEST_F(QueueTest, KeepsFewTokensApartFromPrompts) {
  const auto prompt = asking(100, Priority::interactive, milliseconds(20));
  const auto token = asking(1, Priority::batch, milliseconds(10));
  EXPECT_EQ(next(/*decodes=*/true), &token->job);
  EXPECT_EQ(next(/*decodes=*/false), &prompt->job);
}

TEST_F(QueueTest, PassesOverWhoIsStopped) {
  std::stop_source stop;
  const auto stopped = asking(1, Priority::interactive, milliseconds(20), stop.get_token());
  const auto other = asking(1, Priority::batch, milliseconds(10));
  stop.request_stop();
  EXPECT_EQ(next(/*decodes=*/true), &other->job);
}

}  // namespace
}  // namespace fathom::engine
