// Sessions that are computed together: their bits, their turns, and when one is refused.
#include "engine/scheduling/scheduler.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <mutex>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cpu/kernels.h"
#include "engine/error.h"
#include "engine/model/engine_parts.h"
#include "engine/session.h"
#include "test_paths.h"

namespace fathom::engine {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<const Engine> load(EngineOptions options = {}, const char* file = "hf") {
  if (options.threads == 0) options.threads = 2;
  return Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / "gb" / file, options);
}

std::vector<Token> some_tokens(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 300); });
  return tokens;
}

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

std::vector<float> logits_of(const std::shared_ptr<const Engine>& engine,
                             std::span<const Token> tokens) {
  Session session(engine);
  session.sync(tokens, {}, {});
  return copy(session.logits());
}

// Runs body(i) for every i on a thread of its own.
template <class Body>
void together(int count, Body&& body) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
}

// The cores are somebody else's as long as it lives.
class Occupied {
 public:
  explicit Occupied(const Engine& engine) : lock_(engine.parts().scheduler) {}

 private:
  std::lock_guard<Scheduler> lock_;
};

constexpr int kLifeTokens = 48;

// One session's life: a prompt, single tokens, a stop, a fork, going back, more tokens.
std::vector<float> live(const std::shared_ptr<const Engine>& engine, unsigned seed) {
  std::mt19937 random(seed);
  const std::vector<Token> tokens = some_tokens(kLifeTokens, seed);
  const std::size_t prompt = 10 + random() % 20;
  Session session(engine);
  session.sync(std::span(tokens).first(prompt), {}, {});
  for (std::size_t i = prompt; i < prompt + 5; ++i) session.append(tokens[i]);

  std::stop_source stop;
  std::jthread stopper([&, waits = random() % 100] {
    for (std::size_t i = 0; i < waits; ++i) std::this_thread::yield();
    stop.request_stop();
  });
  session.sync(tokens, {}, stop.get_token());
  stopper.join();
  Session fork = session.fork();
  session.truncate(static_cast<int>(session.tokens().size()) / 2);
  fork.append(7);
  session.sync(tokens, {}, {});
  for (int i = 0; i < 10; ++i) session.append(i);
  return copy(session.logits());
}

std::vector<float> logits_after_life(const std::shared_ptr<const Engine>& engine, unsigned seed) {
  std::vector<Token> tokens = some_tokens(kLifeTokens, seed);
  for (int i = 0; i < 10; ++i) tokens.push_back(i);
  return logits_of(engine, tokens);
}

void expect_the_bits_of_sessions_alone(const std::shared_ptr<const Engine>& engine) {
  constexpr std::size_t kSessions = 2;
  std::vector<std::vector<float>> found(kSessions);
  together(kSessions, [&](int i) {
    found[static_cast<std::size_t>(i)] = live(engine, 7U + static_cast<unsigned>(i));
  });
  for (std::size_t i = 0; i < kSessions; ++i) {
    EXPECT_EQ(found[i], logits_after_life(engine, 7U + static_cast<unsigned>(i)))
        << engine->kernels() << ", session " << i;
  }
}

// On FP8 and FP4 weights (hf) and on Q8_0 and MXFP4 ones (GGUF).
TEST(Scheduler, GivesASessionTheBitsThatItHasAloneInEveryKernelSet) {
  for (const char* file : {"hf", "gb.official.gguf"}) {
    for (const std::string_view kernels : cpu::kernel_names()) {
      if (!cpu::machine_has(kernels)) continue;
      expect_the_bits_of_sessions_alone(
          load({.kernels = std::string(kernels), .threads = 1}, file));
    }
  }
}

TEST(Scheduler, GivesASessionTheBitsThatItHasAloneOnSeveralThreads) {
  expect_the_bits_of_sessions_alone(load({.threads = 3}));
}

// More than a pass takes, so that some wait while others go.
TEST(Scheduler, ComputesMoreSessionsThanAPassTakes) {
  constexpr int kSessions = kSequencesMax + 8;
  const auto engine = load();
  const std::vector<Token> tokens = some_tokens(12, 3);
  const std::vector<float> expected = logits_of(engine, tokens);
  std::vector<std::vector<float>> found(kSessions);
  together(kSessions, [&](int i) {
    Session session(engine);
    for (const Token token : tokens) session.append(token);
    found[static_cast<std::size_t>(i)] = copy(session.logits());
  });
  for (const auto& logits : found) EXPECT_EQ(logits, expected);
}

TEST(Scheduler, HandsOutTheLogitsOfEveryTokenBesideOthers) {
  const auto engine = load();
  const std::vector<Token> tokens = some_tokens(90, 4);
  std::vector<std::vector<float>> expected;
  Session alone(engine);
  for (const Token token : tokens) expected.push_back(copy(alone.append(token)));

  together(3, [&](int i) {
    Session session(engine);
    if (i > 0) {
      for (const Token token : tokens) session.append(token);
      return;
    }
    session.extend(tokens, [&](int position, std::span<const float> logits) {
      EXPECT_EQ(copy(logits), expected[static_cast<std::size_t>(position)]);
    });
  });
}

TEST(Scheduler, StopsAndReportsWhileItWaitsForTheCores) {
  const auto engine = load();
  const std::vector<Token> tokens = some_tokens(100, 5);
  Session session(engine);
  std::stop_source stop;
  std::promise<int> reported;
  std::atomic<int> reports = 0;
  std::future<Prefill> prefill;
  {
    const Occupied cores(*engine);
    prefill = std::async(std::launch::async, [&] {
      return session.sync(
          tokens,
          [&](int done, int) {
            if (reports++ == 0) reported.set_value(done);
          },
          stop.get_token());
    });
    EXPECT_EQ(reported.get_future().get(), 0);
    stop.request_stop();
    EXPECT_EQ(prefill.wait_for(10s), std::future_status::ready);
  }
  EXPECT_EQ(prefill.get().prefilled, 0);
  session.sync(tokens, {}, {});
  EXPECT_EQ(copy(session.logits()), logits_of(engine, tokens));
}

TEST(Scheduler, GivesBackTheCoresWhileAReportTakesItsTime) {
  const auto engine = load();
  const std::vector<Token> tokens = some_tokens(100, 6);
  Session session(engine);
  std::promise<void> reporting, other_done;
  std::atomic<int> reports = 0;
  std::future<Prefill> prefill;
  {
    const Occupied cores(*engine);
    prefill = std::async(std::launch::async, [&] {
      return session.sync(tokens,
                          [&](int, int) {
                            if (reports++ > 0) return;
                            reporting.set_value();
                            other_done.get_future().wait();
                          },
                          {});
    });
    reporting.get_future().wait();
  }
  EXPECT_EQ(logits_of(engine, tokens), logits_of(engine, tokens));
  other_done.set_value();
  EXPECT_EQ(prefill.get().prefilled, 100);
}

TEST(Scheduler, EndsASessionsPrefillWithWhatItsReportThrows) {
  const auto engine = load();
  const std::vector<Token> tokens = some_tokens(100, 8);
  Session session(engine);
  std::future<Prefill> prefill;
  std::promise<void> reporting;
  {
    const Occupied cores(*engine);
    prefill = std::async(std::launch::async, [&] {
      return session.sync(tokens,
                          [&](int, int) {
                            reporting.set_value();
                            throw std::runtime_error("enough");
                          },
                          {});
    });
    reporting.get_future().wait();
  }
  EXPECT_THROW(prefill.get(), std::runtime_error);
  session.sync(tokens, {}, {});
  EXPECT_EQ(copy(session.logits()), logits_of(engine, tokens));
}

TEST(Scheduler, RefusesASessionTooMany) {
  const auto engine = load({.scheduling = {.sessions_max = 2}});
  Session first(engine), third(engine);
  {
    Session second(engine);
    first.append(1);
    second.append(1);
    try {
      third.append(1);
      FAIL() << "a third session was not refused";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("2 sessions are at work"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("sessions_max"), std::string::npos);
    }
    first.append(2);  // those that have a place keep it
    second.append(2);
  }
  third.append(1);
  EXPECT_EQ(copy(third.logits()), logits_of(load(), std::vector<Token>{1}));
}

TEST(Scheduler, RefusesMemoryBeyondTheLimit) {
  const auto engine = load();
  Session one(engine);
  one.append(1);
  const std::int64_t limit = 2 * one.bytes();
  const auto limited = load({.scheduling = {.session_bytes_max = limit}});
  Session small(limited);
  small.append(1);
  Session large(limited);
  try {
    large.sync(some_tokens(2000, 9), {}, {});
    FAIL() << "a large session was not refused";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("session_bytes_max"), std::string::npos);
  }
  small.append(2);
}

TEST(Scheduler, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(load({.scheduling = {.delay_factor = 0.5}}), Error);
  EXPECT_THROW(load({.scheduling = {.patience_s = 0}}), Error);
  EXPECT_THROW(load({.scheduling = {.sessions_max = 0}}), Error);
  EXPECT_THROW(load({.scheduling = {.session_bytes_max = -1}}), Error);
}

}  // namespace
}  // namespace fathom::engine
