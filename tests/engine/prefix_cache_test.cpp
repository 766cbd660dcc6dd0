// What one session computed, another one takes up: the same bits, and only new tokens computed.
#include "engine/prefix_cache.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <optional>
#include <random>
#include <vector>

#include <sys/resource.h>

#include <gtest/gtest.h>

#include "engine/cache/block_store.h"
#include "engine/error.h"
#include "engine/session.h"
#include "test_paths.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

std::shared_ptr<const Engine> engine() {
  static const auto kEngine =
      Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / "gb" / "hf", {.threads = 1});
  return kEngine;
}

std::vector<Token> some_tokens(int count, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 300); });
  return tokens;
}

std::vector<Token> joined(std::vector<Token> tokens, const std::vector<Token>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

std::span<const Token> first(const std::vector<Token>& tokens, int count) {
  return std::span(tokens).first(static_cast<std::size_t>(count));
}

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

std::vector<float> fresh_logits(std::span<const Token> tokens) {
  Session session(engine());
  session.sync(tokens, {}, {});
  return copy(session.logits());
}

std::shared_ptr<PrefixCache> cache_in(const std::filesystem::path& folder,
                                      PrefixCacheOptions options = {}) {
  options.folder = folder;
  return std::make_shared<PrefixCache>(*engine(), std::move(options));
}

// A session that computed `tokens` and left its end.
Session remembered(const std::shared_ptr<PrefixCache>& cache, std::span<const Token> tokens,
                   std::string_view name = {}) {
  Session session(engine(), cache, name);
  session.sync(tokens, {}, {});
  session.remember();
  return session;
}

const std::vector<Token> kTokens = some_tokens(500);

TEST(PrefixCache, LetsASecondSessionComputeOnlyWhatIsNew) {
  const auto cache = cache_in({});
  remembered(cache, first(kTokens, 301));
  Session second(engine(), cache);

  const Prefill prefill = second.sync(first(kTokens, 320), {}, {});

  EXPECT_EQ(prefill.reused, 301);
  EXPECT_EQ(prefill.prefilled, 19);
  EXPECT_EQ(copy(second.logits()), fresh_logits(first(kTokens, 320)));
}

TEST(PrefixCache, LeavesATokenToComputeOnAFullMatch) {
  const auto cache = cache_in({});
  remembered(cache, first(kTokens, 300));
  remembered(cache, first(kTokens, 290));
  Session second(engine(), cache);

  EXPECT_EQ(second.sync(first(kTokens, 300), {}, {}).reused, 290);
  EXPECT_EQ(copy(second.logits()), fresh_logits(first(kTokens, 300)));
}

TEST(PrefixCache, SaysWhereAPromptLeavesWhatIsKnown) {
  const auto cache = cache_in({});
  remembered(cache, first(kTokens, 300));
  std::vector<Token> other(kTokens.begin(), kTokens.begin() + 140);
  other.push_back(301);
  other.push_back(302);
  Session second(engine(), cache);

  const Prefill prefill = second.sync(other, {}, {});

  EXPECT_EQ(prefill.known, 140);
  ASSERT_FALSE(prefill.instead.empty());
  EXPECT_EQ(prefill.instead.front(), kTokens[140]);
  EXPECT_EQ(copy(second.logits()), fresh_logits(other));
}

TEST(PrefixCache, LeavesAMomentWhereTimelinesPart) {
  const auto cache = cache_in({});
  const std::vector<Token> prefix(kTokens.begin(), kTokens.begin() + 140);
  remembered(cache, joined(prefix, some_tokens(30, 5)));
  remembered(cache, joined(prefix, some_tokens(30, 6)));
  Session third(engine(), cache);

  const auto prompt = joined(prefix, some_tokens(30, 7));
  EXPECT_EQ(third.sync(prompt, {}, {}).reused, 140);
  EXPECT_EQ(copy(third.logits()), fresh_logits(prompt));
}

TEST(PrefixCache, LeavesAMomentWhereItIsAsked) {
  const auto cache = cache_in({});
  Session one(engine(), cache);
  one.remember_at(77);
  one.sync(first(kTokens, 100), {}, {});
  Session two(engine(), cache);

  const auto prompt = joined({kTokens.begin(), kTokens.begin() + 77}, some_tokens(30, 7));
  EXPECT_EQ(two.sync(prompt, {}, {}).reused, 77);
  EXPECT_EQ(copy(two.logits()), fresh_logits(prompt));
}

TEST(PrefixCache, GoesOnAfterARestart) {
  const tests::TempDir dir;
  remembered(cache_in(dir.path()), first(kTokens, 333), "conversation");
  Session second(engine(), cache_in(dir.path()), "conversation");

  const Prefill prefill = second.sync(kTokens, {}, {});

  EXPECT_EQ(prefill.reused, 333);
  EXPECT_EQ(prefill.reused_disk, 256);
  EXPECT_EQ(prefill.prefilled, 167);
  EXPECT_EQ(copy(second.logits()), fresh_logits(kTokens));
}

TEST(PrefixCache, MapsWhatIsLargeAndNeverWritesToIt) {
  const tests::TempDir dir;
  remembered(cache_in(dir.path()), first(kTokens, 333), "a");
  const auto cache = cache_in(dir.path(), {.map_from_bytes = 0});
  Session session(engine(), cache);
  EXPECT_EQ(session.sync(kTokens, {}, {}).reused, 333);
  session.truncate(200);  // inside a mapped page, which must be copied before it is written
  std::filesystem::remove_all(dir.path() / "v1");
  session.append(5);
  const auto expected = joined({kTokens.begin(), kTokens.begin() + 200}, {5});
  EXPECT_EQ(copy(session.logits()), fresh_logits(expected));
}

// A session that stands on rows mapped from files, of which somebody then leaves only the header.
class LostRowsOfPrefixCache : public testing::Test {
 protected:
  LostRowsOfPrefixCache() {
    remembered(cache_in(dir_.path()), first(kTokens, 333), "a");
    cache_ = cache_in(dir_.path(), {.map_from_bytes = 0});
    session_.emplace(engine(), cache_);
    EXPECT_EQ(session_->sync(first(kTokens, 334), {}, {}).reused_disk, 256);
  }

  void cut_segments() const {
    int cut = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
      if (entry.path().extension() != ".rows") continue;
      std::filesystem::resize_file(entry.path(), 4096);
      ++cut;
    }
    ASSERT_GT(cut, 0);
  }

  tests::TempDir dir_;
  std::shared_ptr<PrefixCache> cache_;
  std::optional<Session> session_;
};

TEST_F(LostRowsOfPrefixCache, AreComputedAgainInTheMiddleOfAReply) {
  cut_segments();
  session_->append(kTokens[334]);
  EXPECT_EQ(copy(session_->logits()), fresh_logits(first(kTokens, 335)));
  EXPECT_EQ(session_->tokens().size(), 335U);
  const Prefill next = session_->sync(first(kTokens, 340), {}, {});
  EXPECT_EQ(next.reused, 335);
  EXPECT_GT(next.damaged, 0);
  EXPECT_EQ(copy(session_->logits()), fresh_logits(first(kTokens, 340)));
}

TEST_F(LostRowsOfPrefixCache, AreComputedAgainAtTheNextTurn) {
  cut_segments();
  const Prefill next = session_->sync(first(kTokens, 400), {}, {});
  EXPECT_EQ(next.reused + next.prefilled, 400);
  EXPECT_GT(next.damaged, 0);
  EXPECT_EQ(copy(session_->logits()), fresh_logits(first(kTokens, 400)));
}

TEST_F(LostRowsOfPrefixCache, AreComputedAgainWhenGoingBackIntoThem) {
  cut_segments();
  session_->truncate(200);
  session_->append(5);
  const auto expected = joined({kTokens.begin(), kTokens.begin() + 200}, {5});
  EXPECT_EQ(copy(session_->logits()), fresh_logits(expected));
}

TEST_F(LostRowsOfPrefixCache, AreGivenToNobodyElse) {
  Session fork = session_->fork();
  cut_segments();
  session_->append(kTokens[334]);
  fork.append(7);
  EXPECT_EQ(copy(fork.logits()),
            fresh_logits(joined({kTokens.begin(), kTokens.begin() + 334}, {7})));
  cache_->flush();
  Session later(engine(), cache_in(dir_.path()));
  later.sync(first(kTokens, 340), {}, {});
  EXPECT_EQ(copy(later.logits()), fresh_logits(first(kTokens, 340)));
}

TEST_F(LostRowsOfPrefixCache, AreNotSaved) {
  cut_segments();
  EXPECT_THROW(session_->save(dir_.path() / "session"), Error);
  EXPECT_FALSE(std::filesystem::exists(dir_.path() / "session"));
}

TEST(PrefixCache, KeepsOneCopyOfACommonPrefix) {
  const tests::TempDir dir;
  const auto cache = cache_in(dir.path());
  std::vector<Session> sessions;
  remembered(cache, first(kTokens, 256));
  for (unsigned i = 0; i < 8; ++i) {
    const auto tokens = joined({kTokens.begin(), kTokens.begin() + 256}, some_tokens(20, 100 + i));
    sessions.push_back(remembered(cache, tokens));
  }
  cache->flush();
  EXPECT_EQ(cache->use().memory_blocks, 2);
  EXPECT_EQ(cache->use().disk_blocks, 2);
}

TEST(PrefixCache, GoesBackToEveryStepForNothing) {
  const auto cache = cache_in({});
  Session session(engine(), cache);
  std::vector<int> ends;
  for (int tokens = 40; tokens <= 480; tokens += 20) {
    session.sync(first(kTokens, tokens), {}, {});
    session.append(kTokens[static_cast<std::size_t>(tokens)]);
    session.remember();
    ends.push_back(tokens + 1);
  }
  for (const int end : {ends[20], ends[3], ends[11], ends[0]}) {
    auto prompt = joined({kTokens.begin(), kTokens.begin() + end}, {7, 8, 9});
    const Prefill prefill = session.sync(prompt, {}, {});
    EXPECT_EQ(prefill.reused, end);
    EXPECT_EQ(prefill.prefilled, 3);
    EXPECT_EQ(copy(session.logits()), fresh_logits(prompt)) << end;
  }
}

TEST(PrefixCache, ForgetsWithinItsMemoryAndStaysRight) {
  const auto cache = cache_in({}, {.memory_bytes = 200 << 10});
  for (unsigned seed = 0; seed < 12; ++seed) {
    const auto tokens = some_tokens(400, seed);
    remembered(cache, tokens);
    EXPECT_LE(cache->use().memory_bytes, 400 << 10);
  }
  const auto again = joined(some_tokens(400, 3), {5, 6});
  Session session(engine(), cache);
  session.sync(again, {}, {});
  EXPECT_EQ(copy(session.logits()), fresh_logits(again));
}

TEST(PrefixCache, TakesFromDiskWhatMemoryForgot) {
  const tests::TempDir dir;
  const auto cache = cache_in(dir.path(), {.memory_bytes = 1});
  remembered(cache, first(kTokens, 400), "a");
  cache->flush();
  remembered(cache, some_tokens(400, 9), "b");
  Session session(engine(), cache);
  const Prefill prefill = session.sync(kTokens, {}, {});
  EXPECT_EQ(prefill.reused, 400);
  EXPECT_EQ(copy(session.logits()), fresh_logits(kTokens));
}

TEST(PrefixCache, KeepsWithinItsDiskAlsoInOneLongRun) {
  const tests::TempDir dir;
  constexpr std::int64_t kDisk = 400 << 10;
  const auto cache = cache_in(dir.path(), {.disk_bytes = kDisk});
  for (unsigned seed = 0; seed < 30; ++seed) {
    remembered(cache, some_tokens(300, seed), "a" + std::to_string(seed));
    cache->flush();
    EXPECT_LE(cache->use().disk_bytes, kDisk + kDisk / 4) << seed;
  }
  EXPECT_GT(cache->use().disk_bytes, kDisk / 4);
}

TEST(PrefixCache, EvictsFromDiskNothingThatALiveSessionStandsOn) {
  const tests::TempDir dir;
  {
    const auto cache = cache_in(dir.path(), {.memory_bytes = 1, .disk_bytes = 400 << 10});
    const Session live = remembered(cache, first(kTokens, 400), "live");
    for (unsigned seed = 10; seed < 40; ++seed) remembered(cache, some_tokens(300, seed), "other");
    cache->flush();
    BlockStore(dir.path() / "v1", {.root = {}, .page_bytes = 1, .fingerprint = {}}).shrink(0);
  }
  Session again(engine(), cache_in(dir.path()), "live");
  EXPECT_EQ(again.sync(kTokens, {}, {}).reused, 400);
  EXPECT_EQ(copy(again.logits()), fresh_logits(kTokens));
}

TEST(PrefixCache, WritesAgainWhatSomebodyRemoved) {
  const tests::TempDir dir;
  {
    const auto cache = cache_in(dir.path());
    Session session = remembered(cache, first(kTokens, 300), "a");
    cache->flush();
    std::filesystem::remove_all(dir.path() / "v1");
    std::filesystem::create_directory(dir.path() / "v1");
    session.sync(first(kTokens, 340), {}, {});
    session.remember();
  }
  Session again(engine(), cache_in(dir.path()), "a");
  EXPECT_EQ(again.sync(kTokens, {}, {}).reused, 340);
}

TEST(PrefixCache, SaysWhatWouldBeComputedAndChangesNothing) {
  const tests::TempDir dir;
  remembered(cache_in(dir.path()), first(kTokens, 333), "a");
  Session session(engine(), cache_in(dir.path()), "a");
  EXPECT_EQ(session.to_compute(kTokens), 167);
  EXPECT_EQ(session.tokens().size(), 0U);
  EXPECT_EQ(session.sync(kTokens, {}, {}).prefilled, 167);
  EXPECT_EQ(session.to_compute(kTokens), 0);
  EXPECT_EQ(Session(engine()).to_compute(kTokens), 500);
}

TEST(PrefixCache, CountsWhatItFoundDamaged) {
  const tests::TempDir dir;
  remembered(cache_in(dir.path()), first(kTokens, 333), "a");
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() / "v1")) {
    if (entry.path().extension() != ".rows") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5000);
    file.put('?');
  }
  Session session(engine(), cache_in(dir.path()), "a");
  EXPECT_EQ(session.sync(kTokens, {}, {}).damaged, 1);
  EXPECT_EQ(copy(session.logits()), fresh_logits(kTokens));
}

// Files larger than this cannot be written, as on a full disk.
class Full {
 public:
  explicit Full(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~Full() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  Full(const Full&) = delete;
  Full& operator=(const Full&) = delete;

 private:
  rlimit before_ = {};
};

TEST(PrefixCache, GoesOnWithoutAFullDiskAndSaysSoOnce) {
  const tests::TempDir dir;
  int told = 0;
  const auto cache = cache_in(dir.path(), {.on_trouble = [&](const std::string&) { ++told; }});
  {
    const Full full(60 << 10);
    remembered(cache, kTokens, "a");
    remembered(cache, some_tokens(400, 5), "b");
    cache->flush();
  }
  EXPECT_EQ(told, 1);
  Session session(engine(), cache);
  const auto more = joined(kTokens, {1, 2});
  EXPECT_EQ(session.sync(more, {}, {}).reused, std::ssize(kTokens));
  EXPECT_EQ(copy(session.logits()), fresh_logits(more));
  Session after(engine(), cache_in(dir.path()));
  after.sync(more, {}, {});
  EXPECT_EQ(copy(after.logits()), fresh_logits(more));
}

TEST(PrefixCache, GoesOnWithoutAFolderAndSaysSoOnce) {
  std::string why;
  const auto cache = cache_in("/proc/nowhere/kv", {.on_trouble = [&](const std::string& text) {
                                EXPECT_TRUE(why.empty());
                                why = text;
                              }});
  remembered(cache, kTokens);
  EXPECT_NE(why.find("/proc/nowhere"), std::string::npos) << why;
  Session session(engine(), cache);
  EXPECT_EQ(session.sync(joined(kTokens, {1}), {}, {}).reused, std::ssize(kTokens));
}

TEST(PrefixCache, ComputesAgainWhatIsDamaged) {
  const tests::TempDir dir;
  remembered(cache_in(dir.path()), kTokens, "a");
  std::mt19937 random(1);
  for (int i = 0; i < 12; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(dir.path() / "v1")) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      const auto at = static_cast<std::streamoff>(random() % entry.file_size());
      file.seekg(at);
      const int byte = file.get();
      file.seekp(at);
      file.put(static_cast<char>(byte ^ 4));
    }
    Session session(engine(), cache_in(dir.path()), "a");
    const auto tokens = joined(kTokens, {i});
    session.sync(tokens, {}, {});
    EXPECT_EQ(copy(session.logits()), fresh_logits(tokens)) << i;
    session.remember();
  }
}

TEST(PrefixCache, ForksShareAllButTheState) {
  const auto cache = cache_in({});
  const Session parent = remembered(cache, first(kTokens, 384));
  Session child = parent.fork();
  child.append(5);
  EXPECT_EQ(copy(child.logits()),
            fresh_logits(joined({kTokens.begin(), kTokens.begin() + 384}, {5})));
  EXPECT_EQ(copy(parent.logits()), fresh_logits(first(kTokens, 384)));
}

}  // namespace
}  // namespace fathom::engine
