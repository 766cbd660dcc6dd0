// trajectory MODEL --tokens N [--turns T] | --flash N: what going on, forking, going back and
// restarting cost after N tokens that were really computed, or at V4-Flash's shape.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "support/temp_dir.h"
#include "trajectory/table.h"

namespace fathom::bench {
namespace {

using namespace engine;

struct Asked {
  std::string model;
  int tokens = 32768;
  int turns = 200;
  int flash = 0;
};

std::vector<Token> some_tokens(int count, int vocab) {
  std::mt19937 random(1);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % unsigned(vocab)); });
  return tokens;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

class Trajectory {
 public:
  explicit Trajectory(const Asked& asked)
      : asked_(asked),
        engine_(Engine::load(asked.model, {})),
        tokens_(some_tokens(asked.tokens + 2000, engine_->config().vocab_size)) {}

  void run() {
    auto cache = open();
    Session session(engine_, cache, "trajectory");
    append_turns(session);
    overhead(session);
    fork(session);
    rewind_steps(session);
    disk(session, *cache);
    decode_while_writing(session);
    session = Session(engine_);
    cache.reset();
    restart("after a restart", asked_.tokens);
    kill_in_a_turn();
    share_prefix();
  }

 private:
  std::shared_ptr<PrefixCache> open() {
    return std::make_shared<PrefixCache>(
        *engine_,
        PrefixCacheOptions{.memory_bytes = std::int64_t{8} << 30, .folder = dir_.path() / "kv"});
  }
  std::span<const Token> first(int count) const {
    return std::span(tokens_).first(static_cast<std::size_t>(count));
  }
  std::string at() const { return fmt::format("at {}", asked_.tokens); }

  // Every turn prefills its new tokens and nothing else.
  void append_turns(Session& session) {
    const auto start = Clock::now();
    int wrong = 0;
    for (int turn = 1; turn <= asked_.turns; ++turn) {
      const int before = static_cast<int>(session.tokens().size());
      const auto end = static_cast<int>(std::int64_t{asked_.tokens} * turn / asked_.turns);
      const Prefill prefill = session.sync(first(end), {}, {});
      wrong += prefill.prefilled != end - before ? 1 : 0;
      session.remember();
    }
    line(fmt::format("{} turns to {}: prefilled = new", asked_.turns, asked_.tokens),
         fmt::format("{} turns wrong; {:.0f} s in all", wrong, seconds_since(start)), "0",
         wrong == 0);
  }

  // A turn of one token against a decoded token, both at the same depth.
  void overhead(Session& session) {
    std::vector<double> turns, tokens;
    for (int i = 0; i < 7; ++i) {
      const int depth = static_cast<int>(session.tokens().size());
      const auto start = Clock::now();
      session.sync(first(depth + 1), {}, {});
      session.remember();
      turns.push_back(seconds_since(start));
      const auto decode = Clock::now();
      session.append(tokens_[static_cast<std::size_t>(depth) + 1]);
      tokens.push_back(seconds_since(decode));
    }
    const double over = 1e3 * (median(turns) - median(tokens));
    line("turn overhead " + at(), fmt::format("{:.2f} ms", over), "20 ms", over <= 20);
  }

  void fork(const Session& session) {
    std::vector<double> times;
    std::int64_t bytes = 0;
    for (int i = 0; i < 7; ++i) {
      const std::int64_t before = own_bytes();
      const auto start = Clock::now();
      const Session child = session.fork();
      times.push_back(seconds_since(start));
      bytes = std::max(bytes, own_bytes() - before);
    }
    line("fork " + at(),
         fmt::format("{:.2f} ms, {:.1f} MB new", 1e3 * median(times), double(bytes) / 1e6), "5 ms",
         median(times) <= 5e-3);
  }

  void rewind_steps(Session& session) {
    // 70 steps more, then back to each of the last 64, and to places long ago.
    std::vector<int> ends;
    const int start = static_cast<int>(session.tokens().size());
    for (int step = 1; step <= 70; ++step) {
      session.sync(first(start + 10 * step), {}, {});
      session.remember();
      ends.push_back(start + 10 * step);
    }
    int worst = 0;
    for (int i = 1; i < 64; ++i) {
      const int end = ends[ends.size() - 1 - static_cast<std::size_t>(i)];
      worst = std::max(worst, back_to(session, end));
    }
    line("rewind to any of the last 64 steps " + at(), fmt::format("{} tokens", worst), "0",
         worst == 0);
    worst = 0;
    std::mt19937 random(2);
    for (int i = 0; i < 8; ++i) {
      worst = std::max(worst, back_to(session, 1 + int(random() % unsigned(asked_.tokens))));
    }
    line("rewind to any older position " + at(), fmt::format("{} tokens", worst), "4096",
         worst <= 4096);
    session.sync(first(asked_.tokens), {}, {});
    session.remember();
  }

  // Tokens computed again to stand at `end`, beside the new one that follows.
  int back_to(Session& session, int end) {
    std::vector<Token> prompt(tokens_.begin(), tokens_.begin() + end);
    prompt.push_back(tokens_[static_cast<std::size_t>(end)] == 1 ? 2 : 1);
    return session.sync(prompt, {}, {}).prefilled - 1;
  }

  void disk(const Session& session, PrefixCache& cache) {
    cache.flush();
    const CacheUse use = cache.use();
    const double state = double(session.bytes());
    fmt::print(
        "| disk {} | {:.1f} MB for {} blocks and {} moments; session {:.1f} MB | shape's own "
        "| |\n",
        at(), double(use.disk_bytes) / 1e6, use.disk_blocks, use.disk_moments, state / 1e6);
  }

  // The writer gets the whole trajectory of another folder to write while a session decodes.
  void decode_while_writing(const Session& session) {
    constexpr int kDecoded = 500;
    const auto decode = [&](Session one) {
      const auto start = Clock::now();
      for (int i = 0; i < kDecoded; ++i) one.append(5);
      return kDecoded / seconds_since(start);
    };
    std::vector<double> quiet, busy;
    for (int i = 0; i < 7; ++i) {
      quiet.push_back(decode(session.fork()));
      const tests::TempDir other;
      PrefixCacheOptions options{.memory_bytes = std::int64_t{8} << 30, .folder = other.path()};
      const auto cache = std::make_shared<PrefixCache>(*engine_, std::move(options));
      Session written(engine_, cache, "written");
      written.fill_random(first(asked_.tokens));
      written.remember();
      busy.push_back(decode(session.fork()));
    }
    const double ratio = median(busy) / median(quiet);
    line("decode while the cache writes " + at(),
         fmt::format("{:.3f} x ({:.0f} against {:.0f} tokens/s)", ratio, median(busy),
                     median(quiet)),
         "0.97 x", ratio >= 0.97);
  }

  void restart(const std::string& when, int expected) {
    const std::string folder = (dir_.path() / "kv").string();
    const double bandwidth = read_bandwidth(folder);
    const auto start = Clock::now();
    const auto cache = open();
    Session session(engine_, cache, "trajectory");
    const Prefill prefill = session.sync(first(asked_.tokens + 8), {}, {});
    const double seconds = seconds_since(start);
    const double limit = 1.5 * double(session.bytes()) / bandwidth + 0.3;
    line(fmt::format("{} {}: prefilled", when, at()),
         fmt::format("{} of {} ({} known)", prefill.prefilled, asked_.tokens + 8, prefill.known),
         fmt::format("{}", asked_.tokens + 8 - expected),
         prefill.prefilled <= asked_.tokens + 8 - expected);
    line(fmt::format("{} {}: first token", when, at()),
         fmt::format("{:.2f} s, {:.1f} MB", seconds, double(session.bytes()) / 1e6),
         fmt::format("{:.2f} s", limit), seconds <= limit);
  }

  // A child goes on with a turn of 1,500 tokens and is killed in the middle of it.
  void kill_in_a_turn() {
    int ends[2] = {};
    if (::pipe(ends) != 0) return;
    const pid_t child = ::fork();
    if (child == 0) {
      const auto engine = Engine::load(asked_.model, {});
      const auto cache =
          std::make_shared<PrefixCache>(*engine, PrefixCacheOptions{.folder = dir_.path() / "kv"});
      Session session(engine, cache, "trajectory");
      session.sync(first(asked_.tokens + 900), {}, {});
      if (::write(ends[1], "+", 1) == 1) session.sync(first(asked_.tokens + 1500), {}, {});
      ::pause();
    }
    char byte = 0;
    if (::read(ends[0], &byte, 1) == 1) ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    const auto cache = open();
    Session session(engine_, cache, "trajectory");
    const Prefill prefill = session.sync(first(asked_.tokens + 1500), {}, {});
    line("after kill -9 in a turn " + at() + ": prefilled", fmt::format("{}", prefill.prefilled),
         "1500 + 4096", prefill.prefilled <= 1500 + 4096);
  }

  void share_prefix() {
    const tests::TempDir other;
    const auto cache = std::make_shared<PrefixCache>(
        *engine_,
        PrefixCacheOptions{.memory_bytes = std::int64_t{8} << 30, .folder = other.path()});
    constexpr int kPrefix = 4096;
    std::vector<Session> sessions;
    for (int i = 0; i < 64; ++i) {
      std::vector<Token> prompt(tokens_.begin(), tokens_.begin() + kPrefix);
      prompt.push_back(static_cast<Token>(i));
      prompt.push_back(1);
      sessions.emplace_back(engine_, cache, fmt::format("one of many {}", i));
      sessions.back().sync(prompt, {}, {});
      sessions.back().remember();
    }
    cache->flush();
    const CacheUse use = cache->use();
    line("64 conversations with one 4K prefix",
         fmt::format("{} blocks in memory, {} on disk", use.memory_blocks, use.disk_blocks), "32",
         use.memory_blocks == 32 && use.disk_blocks == 32);
  }

  const Asked asked_;
  std::shared_ptr<const Engine> engine_;
  std::vector<Token> tokens_;
  tests::TempDir dir_;
};

}  // namespace
}  // namespace fathom::bench

int main(int count, char** values) {
  using namespace fathom;
  bench::Asked asked;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = values[i];
    const bool more = i + 1 < count;
    if (word == "--tokens" && more) {
      asked.tokens = std::atoi(values[++i]);
    } else if (word == "--turns" && more) {
      asked.turns = std::atoi(values[++i]);
    } else if (word == "--flash" && more) {
      asked.flash = std::atoi(values[++i]);
    } else {
      asked.model = word;
    }
  }
  if (asked.model.empty() && asked.flash == 0) {
    fmt::print(stderr, "trajectory MODEL [--tokens N] [--turns T]; trajectory --flash N\n");
    return 2;
  }
  fmt::print("| work | measured | limit | |\n|---|---|---|---|\n");
  if (asked.flash > 0) {
    const tests::TempDir dir;
    bench::flash_shapes(asked.flash, dir.path().string());
  } else {
    bench::Trajectory(asked).run();
  }
  return bench::all_hold() ? 0 : 1;
}
