// Random lives of many conversations over one cache, every step held against a fresh run, bit for
// bit. A seed is one life of 200 operations; a failure prints the command that lives it again.
//
//   FATHOM_SIMULATION_SEED=17 engine_test --gtest_filter='Simulation.*'
//   FATHOM_SIMULATION_SEEDS=60 engine_test --gtest_filter='Simulation.*'     (the long suite)
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cache/block_store.h"
#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "test_paths.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

constexpr int kOperations = 200;
constexpr std::size_t kSessionsMax = 6;
constexpr int kTokensMax = 600;  // of a conversation: four blocks and something
constexpr char kTurnDone = '+';  // what another process writes after each of its turns

std::shared_ptr<const Engine> engine() {
  static const auto kEngine =
      Engine::load(fs::path(FATHOM_SHARED) / "golden" / "gb" / "hf", {.threads = 1});
  return kEngine;
}

std::shared_ptr<PrefixCache> open_cache(const fs::path& folder, std::int64_t memory) {
  return std::make_shared<PrefixCache>(
      *engine(),
      PrefixCacheOptions{.memory_bytes = memory,
                         .folder = folder,
                         .disk_bytes = std::int64_t{4} << 20,
                         .on_trouble = [](const std::string& why) { ADD_FAILURE() << why; }});
}

// What the same tokens give when nothing was ever kept. Lives share beginnings, so many are asked
// for twice.
const std::vector<float>& fresh_logits(const std::vector<Token>& tokens) {
  static std::map<std::vector<Token>, std::vector<float>> known;
  std::vector<float>& logits = known[tokens];
  if (logits.empty()) {
    Session session(engine());
    session.sync(tokens, {}, {});
    logits.assign(session.logits().begin(), session.logits().end());
  }
  return logits;
}

class Life {
 public:
  Life(unsigned seed, const fs::path& folder) : random_(seed), folder_(folder) { restart(); }

  // One random operation; returns its name.
  std::string step() {
    struct Operation {
      const char* name;
      int weight;
      void (Life::*act)();
    };
    static constexpr Operation kAll[] = {
        {"append", 22, &Life::append},    {"decode", 15, &Life::decode},
        {"fork", 8, &Life::fork},         {"rewind", 14, &Life::rewind},
        {"truncate", 4, &Life::truncate}, {"remember", 12, &Life::remember},
        {"begin", 10, &Life::begin},      {"save", 3, &Life::save},
        {"restart", 3, &Life::restart},   {"evict", 3, &Life::evict},
        {"corrupt", 3, &Life::corrupt},   {"remove", 1, &Life::remove},
        {"kill", 1, &Life::kill_another}, {"second process", 1, &Life::live_beside_another}};
    int draw = below(99);
    for (const Operation& operation : kAll) {
      draw -= operation.weight;
      if (draw >= 0) continue;
      (this->*operation.act)();
      return operation.name;
    }
    return "";
  }

  // Every session that has logits has those of a fresh run.
  void check() {
    for (Session& session : sessions_) {
      if (session.logits().empty()) continue;
      const std::vector<Token> tokens(session.tokens().begin(), session.tokens().end());
      const std::vector<float> logits(session.logits().begin(), session.logits().end());
      EXPECT_EQ(logits, fresh_logits(tokens)) << tokens.size() << " tokens";
    }
  }

  // What another process does: it talks, and tells of each turn.
  void talk(int turns, const std::function<void()>& after_turn) {
    for (int turn = 0; turn < turns; ++turn) {
      append();
      remember();
      check();
      after_turn();
      if (below(4) == 0) sessions_.clear();
    }
  }

 private:
  int below(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }

  // From a small world, so that conversations meet.
  std::vector<Token> some_tokens(int count) {
    std::mt19937 words(static_cast<unsigned>(below(3)));
    std::vector<Token> tokens(static_cast<std::size_t>(count));
    std::ranges::generate(tokens, [&] { return static_cast<Token>(words() % 300); });
    return tokens;
  }

  Session& one() {
    if (sessions_.empty()) begin();
    return sessions_[static_cast<std::size_t>(below(static_cast<int>(sessions_.size())))];
  }

  void make_room() {
    if (sessions_.size() < kSessionsMax) return;
    sessions_.erase(sessions_.begin() + below(static_cast<int>(sessions_.size())));
  }

  void begin() {
    make_room();
    const std::string name = below(3) == 0 ? "" : "conversation " + std::to_string(below(4));
    sessions_.emplace_back(engine(), cache_, name);
    sync(sessions_.back(), 0, 60 + below(140));
  }

  void sync(Session& session, int kept, int more) {
    std::vector<Token> prompt(session.tokens().begin(), session.tokens().begin() + kept);
    const std::vector<Token> tail = some_tokens(more);
    prompt.insert(prompt.end(), tail.begin(), tail.end());
    const Prefill prefill = session.sync(prompt, {}, {});
    EXPECT_EQ(prefill.reused + prefill.prefilled, std::ssize(prompt));
    EXPECT_TRUE(std::ranges::equal(session.tokens(), prompt));
  }

  int size(const Session& session) { return static_cast<int>(session.tokens().size()); }

  void append() {
    Session& session = one();
    const int kept = size(session) > kTokensMax ? 0 : size(session);
    sync(session, kept, 1 + below(90));
  }
  void decode() {
    Session& session = one();
    if (size(session) > kTokensMax) return;
    for (const Token token : some_tokens(1 + below(20))) session.append(token);
  }
  void fork() {
    make_room();
    sessions_.push_back(one().fork());
  }
  void rewind() {
    Session& session = one();
    sync(session, below(size(session) + 1), 1 + below(10));
  }
  void truncate() {
    Session& session = one();
    session.truncate(1 + below(size(session)));
  }
  void remember() { one().remember(); }
  void save() {
    const fs::path file = folder_ / "session";
    Session& session = one();
    session.save(file);
    session = Session::restore(engine(), file);
  }
  void restart() {
    sessions_.clear();
    cache_.reset();
    // Sometimes so small that all is evicted as soon as nobody uses it.
    cache_ = open_cache(folder_ / "kv", below(3) == 0 ? 50 << 10 : 4 << 20);
  }

  // As `fathom cache prune --to` in another process.
  void evict() {
    cache_->flush();
    BlockStore store(folder_ / "kv" / "v1", {.root = {}, .page_bytes = 1, .fingerprint = {}});
    store.shrink(static_cast<std::int64_t>(random_()) % (store.bytes() + 1));
  }

  std::optional<fs::path> some_file() {
    cache_->flush();
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "kv" / "v1")) {
      files.push_back(entry.path());
    }
    if (files.empty()) return std::nullopt;
    std::ranges::sort(files);
    return files[static_cast<std::size_t>(below(static_cast<int>(files.size())))];
  }
  void corrupt() {
    const auto path = some_file();
    if (!path || fs::file_size(*path) == 0) return;
    std::fstream file(*path, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(random_() % fs::file_size(*path));
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ (1 << below(8))));
  }
  void remove() {
    if (const auto path = some_file()) fs::remove(*path);
  }

  // A process that talks over the same folder, and each time that it has done a turn:
  tests::Finished run_another(int turns, const std::function<void(pid_t, int done)>& on_turn) {
    int seen = 0;
    return tests::run_process(
        {.argv = {fs::read_symlink("/proc/self/exe").string(), "--gtest_also_run_disabled_tests",
                  "--gtest_filter=Simulation.DISABLED_Another"},
         .folder = folder_,
         .environment = {"FATHOM_SIMULATION_FOLDER=" + folder_.string(),
                         "FATHOM_SIMULATION_TURNS=" + std::to_string(turns),
                         "FATHOM_SIMULATION_SEED=" + std::to_string(random_())},
         .on_output = [&](pid_t child, std::string_view output) {
           const auto done = static_cast<int>(std::ranges::count(output, kTurnDone));
           for (; seen < done; ++seen) on_turn(child, seen + 1);
         }});
  }
  void kill_another() {
    const int turns = 1 + below(8);
    const tests::Finished another = run_another(1'000'000, [turns](pid_t child, int done) {
      if (done == turns) ::kill(child, SIGKILL);
    });
    EXPECT_EQ(another.exit, 128 + SIGKILL) << another.output << another.error;
  }
  void live_beside_another() {
    const tests::Finished another = run_another(1 + below(6), [this](pid_t, int) {
      append();
      remember();
    });
    EXPECT_EQ(another.exit, 0) << another.output << another.error;
  }

  std::mt19937 random_;
  const fs::path folder_;
  std::shared_ptr<PrefixCache> cache_;
  std::vector<Session> sessions_;
};

unsigned number_from(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

using Counts = std::map<std::string, int>;

void live(unsigned seed, Counts& counts) {
  const tests::TempDir dir;
  Life life(seed, dir.path());
  std::string story;
  for (int i = 0; i < kOperations && !testing::Test::HasFailure(); ++i) {
    const std::string operation = life.step();
    life.check();
    ++counts[operation];
    story += operation + ", ";
  }
  if (testing::Test::HasFailure()) {
    ADD_FAILURE() << "after: " << story << "\nagain: FATHOM_SIMULATION_SEED=" << seed << " "
                  << fs::read_symlink("/proc/self/exe").string()
                  << " --gtest_filter='Simulation.*'";
  }
}

void print(const Counts& counts, unsigned lives) {
  int all = 0;
  std::string list;
  for (const auto& [operation, count] : counts) {
    all += count;
    list += (list.empty() ? "" : ", ") + operation + " " + std::to_string(count);
  }
  std::printf("%d operations in %u lives: %s\n", all, lives, list.c_str());
}

// What Life::run_another starts.
TEST(Simulation, DISABLED_Another) {
  const char* folder = std::getenv("FATHOM_SIMULATION_FOLDER");
  ASSERT_NE(folder, nullptr);
  Life life(number_from("FATHOM_SIMULATION_SEED", 1), folder);
  life.talk(static_cast<int>(number_from("FATHOM_SIMULATION_TURNS", 1)), [] {
    std::fputc(kTurnDone, stdout);
    std::fflush(stdout);
  });
}

TEST(Simulation, EveryLifeGivesTheBitsOfFreshRuns) {
  const unsigned only = number_from("FATHOM_SIMULATION_SEED", 0);
  const unsigned seeds = number_from("FATHOM_SIMULATION_SEEDS", 1);
  Counts counts;
  for (unsigned seed = only > 0 ? only : 1; seed <= std::max(only, seeds); ++seed) {
    live(seed, counts);
    if (HasFailure()) return;
  }
  print(counts, only > 0 ? 1 : seeds);
}

}  // namespace
}  // namespace fathom::engine
