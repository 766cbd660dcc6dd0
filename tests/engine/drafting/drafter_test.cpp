// Drafts change time and nothing else: not a bit of a logit, not a token, not what is sampled.
#include "engine/drafting/drafter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cpu/kernels.h"
#include "engine/prefix_cache.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "test_paths.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

fs::path pocket() {
  return fs::path(FATHOM_SOURCE) / "examples" / "pocket" / "model";
}
fs::path golden_model(const char* name) {
  return fs::path(FATHOM_SHARED) / "golden" / name / "hf";
}

std::shared_ptr<const Engine> load(const fs::path& path, int draft_tokens,
                                   const char* kernels = "auto") {
  return Engine::load(path, {.kernels = kernels, .threads = 1, .draft_tokens = draft_tokens});
}

// What pocket goes on with predictably, though not always as its MTP block thinks.
constexpr std::string_view kText =
    "def total_water(cups, size):\n    \"\"\"Return the product of cups and size.\"\"\"\n"
    "    return cups * size\n\n\ndef left_over(water, used):\n    \"\"\"Return the";

std::vector<Token> prompt_of(const Engine& engine) {
  if (engine.config().vocab_size >= 1024) {
    return engine.tokenizer()->encode(kText, AddedTokens::plain);
  }
  std::vector<Token> tokens(50);
  std::mt19937 random(3);
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 300); });
  return tokens;
}

Token likeliest(std::span<const float> logits) {
  return static_cast<Token>(std::ranges::max_element(logits) - logits.begin());
}

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

// Greedy text and the logits that every token was chosen from.
struct Decoded {
  std::vector<Token> tokens;
  std::vector<std::vector<float>> logits;
  DraftCounts drafts;
};
Decoded decode(const std::shared_ptr<const Engine>& engine, int count) {
  Session session(engine);
  session.sync(prompt_of(*engine), {}, {});
  Decoded decoded;
  for (int i = 0; i < count; ++i) {
    decoded.logits.push_back(copy(session.logits()));
    decoded.tokens.push_back(likeliest(session.logits()));
    session.append(decoded.tokens.back());
    EXPECT_EQ(session.tokens().back(), decoded.tokens.back());
  }
  decoded.drafts = session.drafts();
  return decoded;
}

// 300 tokens cross two pages.
TEST(Drafting, GreedyTextHasTheSameBitsWithAndWithout) {
  for (const fs::path& path :
       {pocket(), golden_model("ga"), golden_model("gb"), golden_model("gc")}) {
    const Decoded plain = decode(load(path, 0), 300);
    EXPECT_EQ(plain.drafts.drafted, 0);
    for (const int draft_tokens : {-1, 1, 2, 3}) {
      const Decoded drafted = decode(load(path, draft_tokens), 300);
      EXPECT_EQ(drafted.tokens, plain.tokens) << path << " " << draft_tokens;
      EXPECT_EQ(drafted.logits, plain.logits) << path << " " << draft_tokens;
      EXPECT_TRUE(draft_tokens < 0 || drafted.drafts.drafted > 0) << path;
    }
  }
}

TEST(Drafting, EveryKernelSetGivesTheSameBitsWithAndWithout) {
  for (const std::string_view name : cpu::kernel_names()) {
    if (!cpu::machine_has(name)) continue;
    const std::string kernels(name);
    const Decoded plain = decode(load(pocket(), 0, kernels.c_str()), 100);
    const Decoded drafted = decode(load(pocket(), 3, kernels.c_str()), 100);
    EXPECT_EQ(drafted.tokens, plain.tokens) << name;
    EXPECT_EQ(drafted.logits, plain.logits) << name;
  }
}

// So that the tests here see both.
TEST(Drafting, OfPocketIsOftenRightAndOftenWrong) {
  const Decoded decoded = decode(load(pocket(), 1), 300);
  EXPECT_GT(decoded.drafts.accepted, decoded.drafts.drafted / 5);
  EXPECT_LT(decoded.drafts.accepted, decoded.drafts.drafted * 4 / 5);
}

// Two sessions live the same life, one with drafts.
class Twins {
 public:
  Twins(unsigned seed, const fs::path& model, int draft_tokens)
      : random_(seed),
        engines_{load(model, draft_tokens), load(model, 0)},
        caches_{cache_of(0), cache_of(1)} {
    begin();
  }

  // One random step, after which both must be the same.
  void step() {
    const int draw = below(100);
    if (draw < 55) {
      append(likeliest(sessions_[1].logits()));
    } else if (draw < 75) {
      append(static_cast<Token>(below(300)));  // mostly not what was drafted
    } else if (draw < 81) {
      for (Session& session : sessions_) session = session.fork();
    } else if (draw < 85) {
      leave_a_fork_behind();
    } else if (draw < 89) {
      const int kept = 1 + below(length());
      for (Session& session : sessions_) session.truncate(kept);
    } else if (draw < 92) {
      sync(1 + below(length()), below(40));
    } else if (draw < 95) {
      sync(length(), 1 + below(40));
    } else if (draw < 97) {
      for (Session& session : sessions_) session.remember();
    } else if (draw < 98) {
      extend(1 + below(5));
    } else if (draw < 99) {
      save_and_restore();
    } else {
      begin();
    }
    check();
  }

  DraftCounts drafts() const { return sessions_[0].drafts(); }

 private:
  int below(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }
  int length() const { return static_cast<int>(sessions_[1].tokens().size()); }

  std::shared_ptr<PrefixCache> cache_of(std::size_t twin) const {
    return std::make_shared<PrefixCache>(*engines_[twin], PrefixCacheOptions{});
  }

  void begin() {
    sessions_.clear();
    for (std::size_t twin = 0; twin < 2; ++twin) {
      sessions_.emplace_back(engines_[twin], caches_[twin], "twin");
      sessions_[twin].sync(prompt_of(*engines_[twin]), {}, {});
    }
  }

  void append(Token token) {
    for (Session& session : sessions_) session.append(token);
  }

  std::vector<Token> some_tokens(int count) {
    std::vector<Token> tokens(static_cast<std::size_t>(count));
    std::ranges::generate(tokens, [&] { return static_cast<Token>(below(300)); });
    return tokens;
  }

  void sync(int kept, int more) {
    const auto own = sessions_[1].tokens();
    std::vector<Token> prompt(own.begin(), own.begin() + kept);
    const std::vector<Token> tail = some_tokens(more);
    prompt.insert(prompt.end(), tail.begin(), tail.end());
    for (Session& session : sessions_) session.sync(prompt, {}, {});
  }

  void extend(int count) {
    const std::vector<Token> tokens = some_tokens(count);
    std::vector<std::vector<float>> seen[2];
    for (std::size_t twin = 0; twin < 2; ++twin) {
      sessions_[twin].extend(
          tokens, [&](int, std::span<const float> logits) { seen[twin].push_back(copy(logits)); });
    }
    EXPECT_EQ(seen[0], seen[1]);
  }

  // A fork goes elsewhere while drafts may be waiting here.
  void leave_a_fork_behind() {
    const Token elsewhere = static_cast<Token>(below(300));
    std::vector<std::vector<float>> there;
    for (Session& session : sessions_) {
      Session fork = session.fork();
      fork.append(elsewhere);
      there.push_back(copy(fork.append(1)));
    }
    EXPECT_EQ(there[0], there[1]);
  }

  void save_and_restore() {
    const tests::TempDir dir;
    for (std::size_t twin = 0; twin < 2; ++twin) {
      sessions_[twin].save(dir.path() / "session");
      sessions_[twin] = Session::restore(engines_[twin], dir.path() / "session");
    }
  }

  void check() const {
    ASSERT_TRUE(std::ranges::equal(sessions_[0].tokens(), sessions_[1].tokens()));
    ASSERT_EQ(copy(sessions_[0].logits()), copy(sessions_[1].logits())) << length() << " tokens";
  }

  std::mt19937 random_;
  std::shared_ptr<const Engine> engines_[2];
  std::shared_ptr<PrefixCache> caches_[2];
  std::vector<Session> sessions_;
};

class DraftedLife : public testing::TestWithParam<int> {};

TEST_P(DraftedLife, HasTheBitsOfAPlainOne) {
  for (const fs::path& path : {pocket(), golden_model("gb")}) {
    Twins twins(static_cast<unsigned>(GetParam()) + 10, path, GetParam());
    for (int i = 0; i < 300; ++i) {
      twins.step();
      if (HasFatalFailure()) FAIL() << path << ", step " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DraftTokens, DraftedLife, testing::Values(-1, 1, 2, 3));

TEST(Drafting, GoesOnAfterRestoringAndAfterTakingUpWhatOthersComputed) {
  const auto engine = load(pocket(), 2);
  const auto cache = std::make_shared<PrefixCache>(*engine, PrefixCacheOptions{});
  Session first(engine, cache);
  first.sync(prompt_of(*engine), {}, {});
  for (int i = 0; i < 20; ++i) first.append(likeliest(first.logits()));
  first.remember();
  const tests::TempDir dir;
  first.save(dir.path() / "session");

  std::vector<Session> others;
  others.push_back(Session::restore(engine, dir.path() / "session"));
  others.emplace_back(engine, cache);
  others.back().sync(first.tokens(), {}, {});
  for (Session& session : others) {
    for (int i = 0; i < 40; ++i) session.append(likeliest(session.logits()));
    EXPECT_GT(session.drafts().accepted, 5);
  }
}

// Pairs of tokens, sampled after a prompt: the second one mostly from logits that were computed
// while the first was a draft. Held against the probabilities that a plain session gives.
class Pairs {
 public:
  explicit Pairs(const std::shared_ptr<const Engine>& plain) : session_(plain) {
    session_.sync(prompt_of(*plain), {}, {});
  }

  double probability(Token first, Token second) {
    auto& after = second_[first];
    if (after.empty()) {
      Session session = session_.fork();
      after = shares(session.append(first));
    }
    return shares(session_.logits())[static_cast<std::size_t>(first)] *
           after[static_cast<std::size_t>(second)];
  }

  static std::vector<double> shares(std::span<const float> logits) {
    const double top = *std::ranges::max_element(logits);
    std::vector<double> shares;
    double total = 0;
    for (const float logit : logits) {
      shares.push_back(std::exp((logit - top) / kTemperature));
      total += shares.back();
    }
    for (double& share : shares) share /= total;
    return shares;
  }

  static constexpr double kTemperature = 2.5;  // so that drafts are often wrong

 private:
  Session session_;
  std::map<Token, std::vector<double>> second_;
};

// Σ (seen − expected)² / expected over pairs expected at least five times, and over all the others
// together; and the value that chance exceeds once in 1,000 times (Wilson and Hilferty).
struct ChiSquare {
  double value = 0;
  double limit = 0;
};
ChiSquare chi_square(const std::map<std::pair<Token, Token>, int>& seen, int draws, Pairs& pairs) {
  ChiSquare found;
  double rest_expected = draws;
  double rest_seen = draws;
  int cells = 0;
  for (const auto& [pair, count] : seen) {
    const double expected = draws * pairs.probability(pair.first, pair.second);
    if (expected < 5) continue;
    found.value += (count - expected) * (count - expected) / expected;
    rest_expected -= expected;
    rest_seen -= count;
    ++cells;
  }
  found.value += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
  const double spread = 2.0 / (9 * cells);
  found.limit = cells * std::pow(1 - spread + 3.09 * std::sqrt(spread), 3);
  return found;
}

TEST(Drafting, SamplesFromTheModelsOwnDistribution) {
  constexpr int kDraws = 1500;
  const auto engine = load(pocket(), 2);
  Pairs pairs(load(pocket(), 0));
  std::vector<Token> prompt = prompt_of(*engine);
  const Token last = prompt.back();
  prompt.pop_back();
  Session prepared(engine);
  prepared.sync(prompt, {}, {});
  Sampler sampler(11);
  const Sampling sampling{.temperature = Pairs::kTemperature};
  std::map<std::pair<Token, Token>, int> seen, drafted;
  std::int64_t accepted = 0;

  for (int i = 0; i < kDraws; ++i) {
    Session session = prepared.fork();
    session.append(last);  // and what is drafted
    const Token first = sampler.sample(session.logits(), sampling, {}).token;
    session.append(first);
    const Token second = sampler.sample(session.logits(), sampling, {}).token;
    ++seen[{first, second}];
    const bool right = session.drafts().accepted > 0;
    accepted += right ? 1 : 0;
    if (right) ++drafted[{first, second}];
  }

  EXPECT_GT(accepted, kDraws / 20);
  EXPECT_LT(accepted, kDraws - kDraws / 20);
  const ChiSquare all = chi_square(seen, kDraws, pairs);
  EXPECT_LT(all.value, all.limit);
  // Sampling only where drafts were right would be seen.
  const ChiSquare biased = chi_square(drafted, static_cast<int>(accepted), pairs);
  EXPECT_GT(biased.value, biased.limit);
}

}  // namespace
}  // namespace fathom::engine
