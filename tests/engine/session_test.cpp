// A session's promise: its bits depend on its tokens alone, however it came to them.
#include "engine/session.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cpu/kernels.h"
#include "engine/error.h"
#include "test_paths.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

// One thread unless a test is about threads: the models are too small to gain from more.
std::shared_ptr<const Engine> load(EngineOptions options = {}, const char* model = "gb") {
  if (options.threads == 0) options.threads = 1;
  return Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / model / "hf", options);
}

std::vector<Token> some_tokens(int count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 300); });
  return tokens;
}

std::span<const Token> first(const std::vector<Token>& tokens, int count) {
  return std::span(tokens).first(static_cast<std::size_t>(count));
}

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

Session session_of(const std::shared_ptr<const Engine>& engine, std::span<const Token> tokens) {
  Session session(engine);
  session.sync(tokens, {}, {});
  return session;
}

// Logits after `tokens` in one prefill of a fresh session, and after more, in the same session.
std::vector<float> logits_of(const std::shared_ptr<const Engine>& engine,
                             std::span<const Token> tokens) {
  return copy(session_of(engine, tokens).logits());
}

const std::vector<Token> kTokens = some_tokens(330);

TEST(Session, DecodesTheBitsOfPrefill) {
  const auto engine = load();
  Session session = session_of(engine, first(kTokens, 100));
  for (int i = 100; i < 300; ++i) session.append(kTokens[static_cast<std::size_t>(i)]);

  EXPECT_EQ(copy(session.logits()), logits_of(engine, first(kTokens, 300)));
}

// Every kernel set, on FP8 and FP4 weights (hf) and on Q8_0 and MXFP4 ones (GGUF).
TEST(Session, GivesTheSameBitsInEveryFeedAndOnAnyNumberOfThreads) {
  for (const char* file : {"hf", "gb.official.gguf"}) {
    const auto path = std::filesystem::path(FATHOM_SHARED) / "golden" / "gb" / file;
    for (const std::string_view kernels : cpu::kernel_names()) {
      if (!cpu::machine_has(kernels)) continue;
      const std::string name(kernels);
      const auto one = Engine::load(path, {.kernels = name, .threads = 1});
      const auto three = Engine::load(path, {.kernels = name, .threads = 3, .draft_tokens = 2});
      Session fed = session_of(three, first(kTokens, 100));
      for (int i = 100; i < 150; ++i) fed.append(kTokens[static_cast<std::size_t>(i)]);

      EXPECT_EQ(logits_of(one, first(kTokens, 150)), copy(fed.logits())) << kernels << " " << file;
    }
  }
}

TEST(Session, SyncReusesTheCommonPrefix) {
  const auto engine = load();
  Session session = session_of(engine, first(kTokens, 300));
  std::vector<Token> other(kTokens.begin(), kTokens.begin() + 290);
  other.push_back(5);

  const Prefill prefill = session.sync(other, {}, {});

  EXPECT_EQ(prefill.reused + prefill.prefilled, 291);
  EXPECT_EQ(prefill.reused, 256);  // the last boundary of 128 before the difference
  EXPECT_EQ(copy(session.logits()), logits_of(engine, other));
}

TEST(Session, SyncToItsOwnTokensComputesNothing) {
  Session session = session_of(load(), first(kTokens, 50));
  EXPECT_EQ(session.sync(first(kTokens, 50), {}, {}).reused, 50);
  const Prefill more = session.sync(first(kTokens, 60), {}, {});
  EXPECT_EQ(more.reused, 50);
  EXPECT_EQ(more.prefilled, 10);
}

class SessionRounding : public testing::TestWithParam<Rounding> {};

TEST_P(SessionRounding, TruncatesToAnyEarlierPosition) {
  const auto engine = load({.rounding = GetParam()});
  for (const int kept : {329, 257, 256, 255, 131, 128, 127, 4, 3, 1}) {
    Session session = session_of(engine, kTokens);
    session.truncate(kept);
    EXPECT_EQ(std::ssize(session.tokens()), kept);
    EXPECT_EQ(copy(session.logits()), logits_of(engine, first(kTokens, kept))) << kept;
    session.append(7);
    std::vector<Token> expected(kTokens.begin(), kTokens.begin() + kept);
    expected.push_back(7);
    EXPECT_EQ(copy(session.logits()), logits_of(engine, expected)) << kept;
  }
}

TEST_P(SessionRounding, ForksDoNotTouchEachOther) {
  const auto engine = load({.rounding = GetParam()});
  Session left = session_of(engine, first(kTokens, 200));
  Session right = left.fork();
  for (int i = 0; i < 80; ++i) {
    left.append(11);
    right.append(12);
  }
  std::vector<Token> expected(kTokens.begin(), kTokens.begin() + 200);
  expected.insert(expected.end(), 80, 11);
  EXPECT_EQ(copy(left.logits()), logits_of(engine, expected));
  std::fill(expected.begin() + 200, expected.end(), 12);
  EXPECT_EQ(copy(right.logits()), logits_of(engine, expected));
  right.truncate(130);
  EXPECT_EQ(copy(right.logits()), logits_of(engine, first(kTokens, 130)));
}

TEST_P(SessionRounding, RestoresWhatWasSaved) {
  const auto engine = load({.rounding = GetParam()});
  const tests::TempDir dir;
  for (const int saved : {0, 1, 5, 127, 128, 300}) {
    const Session session = session_of(engine, first(kTokens, saved));
    session.save(dir.path() / "session");

    Session restored = Session::restore(engine, dir.path() / "session");

    EXPECT_TRUE(std::ranges::equal(restored.tokens(), first(kTokens, saved)));
    EXPECT_EQ(copy(restored.logits()), copy(session.logits()));
    restored.sync(first(kTokens, saved + 20), {}, {});
    EXPECT_EQ(copy(restored.logits()), logits_of(engine, first(kTokens, saved + 20)));
  }
}

std::string rounding_name(const testing::TestParamInfo<Rounding>& info) {
  return info.param == Rounding::exact ? "exact" : info.param == Rounding::f16 ? "f16" : "official";
}

INSTANTIATE_TEST_SUITE_P(Roundings, SessionRounding,
                         testing::Values(Rounding::exact, Rounding::f16, Rounding::official),
                         rounding_name);

TEST(Session, StopsAnywhereAndGoesOnWithTheSameBits) {
  const auto engine = load({.threads = 1});
  const std::vector<float> expected = logits_of(engine, kTokens);
  // Wherever the stop falls, what is left must be whole; longer waits reach further.
  using Clock = std::chrono::steady_clock;
  for (int waits = 0; waits < 12; ++waits) {
    Session session = session_of(engine, first(kTokens, 10));
    std::stop_source stop;
    std::thread stopper([&stop, end = Clock::now() + waits * waits * std::chrono::milliseconds(1)] {
      while (Clock::now() < end) std::this_thread::yield();
      stop.request_stop();
    });
    const Prefill prefill = session.sync(kTokens, {}, stop.get_token());
    stopper.join();
    EXPECT_EQ(std::ssize(session.tokens()), prefill.reused + prefill.prefilled);
    session.sync(kTokens, {}, {});
    EXPECT_EQ(copy(session.logits()), expected) << prefill.prefilled;
  }
}

TEST(Session, StopsBeforeItsFirstToken) {
  Session session(load());
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(session.sync(kTokens, {}, stop.get_token()).prefilled, 0);
  EXPECT_TRUE(session.tokens().empty());
}

TEST(Session, RefusesTokensOutsideTheVocabulary) {
  Session session(load());
  session.append(3);
  EXPECT_THROW(session.append(512), Error);
  EXPECT_THROW(session.append(-1), Error);
  EXPECT_THROW(session.sync(std::vector<Token>{1, 99999}, {}, {}), Error);
  EXPECT_EQ(std::ssize(session.tokens()), 1);
}

TEST(Session, TakesMemoryAsItGrows) {
  const auto engine = load();
  Session session(engine);
  const std::int64_t empty = session.bytes();
  session.sync(first(kTokens, 128), {}, {});
  const std::int64_t one_page = session.bytes();
  session.sync(kTokens, {}, {});
  EXPECT_GT(one_page, empty);
  EXPECT_GT(session.bytes(), one_page);
}

TEST(Session, GoesOnAfterARandomFill) {
  for (const Rounding rounding : {Rounding::exact, Rounding::f16, Rounding::official}) {
    const auto engine = load({.rounding = rounding});
    Session session(engine);
    session.fill_random(first(kTokens, 300));
    Session other = session.fork();

    const std::vector<float> logits = copy(session.append(kTokens[300]));  // throws on NaN

    EXPECT_EQ(std::ssize(session.tokens()), 301);
    EXPECT_EQ(other.sync(first(kTokens, 301), {}, {}).reused, 300);
    EXPECT_EQ(copy(other.logits()), logits);
    other.truncate(200);
    EXPECT_EQ(copy(other.logits()), logits_of(engine, first(kTokens, 200)));
  }
}

TEST(Session, VisitsTheLogitsOfEveryToken) {
  const auto engine = load();
  Session session(engine);
  std::vector<std::vector<float>> visited;
  session.extend(first(kTokens, 40), [&](int position, std::span<const float> logits) {
    EXPECT_EQ(position, std::ssize(visited));
    visited.push_back(copy(logits));
  });
  ASSERT_EQ(visited.size(), 40U);
  EXPECT_EQ(visited[20], logits_of(engine, first(kTokens, 21)));
  EXPECT_EQ(visited[39], copy(session.logits()));
}

TEST(SessionFile, RefusesEveryTruncationAndEveryFlippedByte) {
  const auto engine = load();
  const tests::TempDir dir;
  session_of(engine, first(kTokens, 140)).save(dir.path() / "whole");
  const std::string whole = dir.read("whole");
  const std::size_t step = whole.size() / 150 + 1;  // 150 places all over the file
  for (std::size_t at = 0; at < whole.size(); at += step) {
    const auto cut = dir.write("cut", std::string_view(whole).substr(0, at));
    EXPECT_THROW(Session::restore(engine, cut), Error) << "cut at " << at;
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    EXPECT_THROW(Session::restore(engine, dir.write("flipped", flipped)), Error)
        << "flip at " << at;
  }
  EXPECT_THROW(Session::restore(engine, dir.write("longer", whole + "x")), Error);
  EXPECT_THROW(Session::restore(engine, dir.path() / "missing"), Error);
}

TEST(SessionFile, RefusesAnotherEngine) {
  const tests::TempDir dir;
  session_of(load(), first(kTokens, 10)).save(dir.path() / "file");
  EXPECT_THROW(Session::restore(load({.rounding = Rounding::f16}), dir.path() / "file"), Error);
  EXPECT_THROW(Session::restore(load({}, "gc"), dir.path() / "file"), Error);
}

TEST(SessionFile, ReportsWhereItCannotBeWritten) {
  const Session session = session_of(load(), first(kTokens, 3));
  EXPECT_THROW(session.save("/proc/nowhere/session"), Error);
}

TEST(Engine, RefusesUnknownKernelsAndThreads) {
  EXPECT_THROW(load({.kernels = "sse9"}), Error);
  EXPECT_THROW(load({.threads = -1}), Error);
}

}  // namespace
}  // namespace fathom::engine
