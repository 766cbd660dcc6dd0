// trajectory MODEL [--tokens N] [--turns T] [--keep DIR [--part fresh|turns]] [--without-fresh]
//            [--threads N] [--rows NAME,...]
// trajectory MODEL [--tokens N] --random [--threads N] [--rows NAME,...]
// trajectory --flash N [--rows NAME,...]
//
// What going on, forking, going back and restarting cost after N tokens that were really computed,
// and whether the logits are those of a fresh run, bit for bit; or bytes and times at V4-Flash's
// shape. Ends with 1 if a limit was missed.
//
// --keep DIR computes what takes long only once, the fresh run and the turns over a cache, with
// --part only one of them; the measurements then take a minute or two. --without-fresh saves the
// fresh run: logits are then held against those of the process that computed the turns, before it
// was ever restarted. --random computes nothing: lines of time and bytes at depths that would take
// hours. --rows prints some lines alone; plan.h names them.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "engine/cache/prefix_tree.h"
#include "engine/model/engine_parts.h"
#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "support/temp_dir.h"
#include "trajectory/busy_writer.h"
#include "trajectory/computed.h"
#include "trajectory/facts.h"
#include "trajectory/other_process.h"
#include "trajectory/plan.h"
#include "trajectory/table.h"

namespace fathom::bench {
namespace {

namespace fs = std::filesystem;
using namespace engine;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// 64 conversations at once, and one that computes afresh what they should have.
constexpr int kSessionsMax = 80;

// The measurements, in the order in which the trajectory grows. They work on a copy of the cache's
// folder, so that each run finds the same.
class Trajectory {
 public:
  Trajectory(const Asked& asked, const fs::path& folder)
      : asked_(asked),
        plan_(asked),
        engine_(Engine::load(
            asked.model, {.threads = asked.threads, .scheduling = {.sessions_max = kSessionsMax}})),
        tokens_(some_tokens(plan_.killed_end + 1, engine_->config().vocab_size)),
        computed_(asked.random ? Computed() : computed(engine_, asked, tokens_, folder)) {
    if (asked.part.empty() && !asked.random) {
      fs::copy(folder / "kv", kv(), fs::copy_options::recursive);
    }
  }

  void run() {
    if (asked_.wants("turns")) turns();
    if (asked_.wants("restart")) restart();
    {
      Session session(engine_, open_cache(*engine_, kv()), kName);
      session.sync(first(plan_.end), {}, {});
      check_bits(session);
      of_time(session);
      if (asked_.wants("rewind")) rewind(session);
      if (asked_.wants("disk")) disk(session);
      if (asked_.wants("writing")) decode_while_writing(session);
    }
    if (asked_.wants("killed")) killed();
    if (asked_.wants("shared")) share_prefix();
    bits_line();
  }

  // Lines for which it does not matter what the rows hold.
  void run_random() {
    const auto cache = open_cache(*engine_, kv());
    Session session(engine_, cache, kName);
    session.fill_random(first(plan_.end));
    session.remember();
    cache->flush();
    of_time(session);
    if (asked_.wants("writing")) decode_while_writing(session);
  }

 private:
  void of_time(Session& session) {
    if (asked_.wants("overhead")) overhead(session);
    if (asked_.wants("fork")) fork(session);
  }

  fs::path kv() const { return dir_.path() / "kv"; }
  std::span<const Token> first(int count) const {
    return std::span(tokens_).first(static_cast<std::size_t>(count));
  }
  Token token(int position) const { return tokens_[static_cast<std::size_t>(position)]; }
  std::string at() const { return fmt::format("at {}", asked_.tokens); }

  const Facts& reference() const {
    return asked_.without_fresh ? computed_.turns : computed_.fresh;
  }

  // Whether logits after `length` tokens are those of the fresh run.
  void check_bits(std::uint64_t bits, int length) {
    if (asked_.random) return;
    ++compared_;
    different_ += bits != reference().bits.at(length) ? 1 : 0;
  }
  void check_bits(const Session& session) {
    check_bits(bits_of(session.logits()), static_cast<int>(session.tokens().size()));
  }

  void turns() {
    const Facts& facts = computed_.turns;
    for (const auto& [length, bits] : facts.bits) check_bits(bits, length);
    line(fmt::format("{} turns to {}: prefilled = new", asked_.turns, asked_.tokens),
         fmt::format("{} turns wrong; {:.0f} s in all", facts.wrong_turns, facts.seconds), "0",
         facts.wrong_turns == 0);
    line("rewind to any older place " + at() + ": prefilled", fmt::format("{}", facts.rewound),
         "4096", facts.rewound <= kMomentEvery);
  }

  void restart() {
    const double bandwidth = read_bandwidth(kv().string());
    const FirstToken told = first_token_of_another(asked_.model, kv(), plan_.restarted);
    check_bits(told.bits, plan_.restarted);
    const int fresh = plan_.restarted - plan_.end;
    line("after a restart " + at() + ": prefilled",
         fmt::format("{} of {}, {} from disk", told.prefilled, plan_.restarted, told.reused_disk),
         fmt::format("{}", fresh), told.prefilled == fresh);
    const double limit = 1.5 * double(told.state_bytes) / bandwidth + 0.3;
    line("after a restart " + at() + ": program's start to first token",
         fmt::format("{:.2f} s, of it {:.2f} s the model; {:.1f} MB of state, read at {:.1f} GB/s",
                     told.seconds, told.loaded_seconds, double(told.state_bytes) / 1e6,
                     bandwidth / 1e9),
         fmt::format("{:.2f} s", limit), told.seconds <= limit);
  }

  // A turn of one token against a decoded token, both at the same depth.
  void overhead(Session& session) {
    std::vector<double> turns, tokens;
    for (int i = 0; i < Plan::kOverheads; ++i) {
      const auto depth = static_cast<int>(session.tokens().size());
      const auto start = Clock::now();
      session.sync(first(depth + 1), {}, {});
      session.remember();
      turns.push_back(seconds_since(start));
      const auto decode = Clock::now();
      session.append(token(depth + 1));
      tokens.push_back(seconds_since(decode));
    }
    check_bits(session);
    const double over = 1e3 * (median(turns) - median(tokens));
    line("overhead of a turn " + at(),
         fmt::format("{:.2f} ms; its token {:.2f} ms", over, 1e3 * median(tokens)), "20 ms",
         over <= 20);
  }

  void fork(Session& session) {
    session.sync(first(plan_.aligned), {}, {});
    session.remember();
    const std::int64_t fixed = engine_->parts().shape->fixed_bytes;
    std::vector<double> times;
    std::vector<Session> children;
    const std::int64_t before = own_bytes();
    for (int i = 0; i < 7; ++i) {
      const auto start = Clock::now();
      children.push_back(session.fork());
      times.push_back(seconds_since(start));
    }
    const double bytes = double(own_bytes() - before) / 7;
    // Of a small model lists of blocks outweigh the state: the limit of bytes is that of V4-Flash.
    line("fork " + at(),
         fmt::format("{:.2f} ms, {:.2f} MB new; fixed state {:.2f} MB", 1e3 * median(times),
                     bytes / 1e6, double(fixed) / 1e6),
         "5 ms; bytes: see --flash", median(times) <= 5e-3);
    children.front().append(token(plan_.aligned));
    check_bits(children.front());
  }

  // Short steps, then back to each of the last 64 in no order, and to places long ago.
  void rewind(Session& session) {
    for (int step = 1; step <= Plan::kSteps; ++step) {
      session.sync(first(plan_.step_end(step)), {}, {});
      session.remember();
    }
    std::vector<int> ends;
    for (int i = 1; i <= Plan::kKept; ++i) ends.push_back(plan_.step_end(Plan::kSteps - i));
    std::ranges::shuffle(ends, std::mt19937(3));
    line("rewind to any of the last 64 steps " + at() + ": prefilled",
         fmt::format("{}", most_again(session, ends)), "0", most_again_ == 0);
    line("rewind to any older place " + at() + ", taken up from disk: prefilled",
         fmt::format("{}", most_again(session, plan_.older)), "4096", most_again_ <= kMomentEvery);
    session.sync(first(plan_.steps_end), {}, {});
    session.remember();
  }

  // The most tokens that were computed again for one of the places, beside the new one behind it.
  int most_again(Session& session, const std::vector<int>& places) {
    most_again_ = 0;
    for (const int place : places) {
      const Prefill prefill = session.sync(first(place + 1), {}, {});
      most_again_ = std::max(most_again_, prefill.prefilled - 1);
      check_bits(session);
    }
    return most_again_;
  }

  void disk(const Session& session) const {
    // The limit of 1.15 holds for V4-Flash's shape (--flash), where blocks outweigh states.
    const double state = double(session.bytes());
    const double bytes = double(folder_bytes(kv().string()));
    line("disk " + at(),
         fmt::format("{:.1f} MB; the session in memory {:.1f} MB", bytes / 1e6, state / 1e6),
         "see --flash", true);
  }

  // Decodes the same tokens with and without a writer that always has something to write.
  void decode_while_writing(const Session& session) {
    const auto decode = [&](int count) {
      Session one = session.fork();
      const auto start = Clock::now();
      for (int i = 0; i < count; ++i) one.append(5);
      return count / seconds_since(start);
    };
    const int count = std::max(20, static_cast<int>(decode(20) * 0.7));
    std::vector<double> quiet, busy;
    std::int64_t written = 0;
    for (int i = 0; i < 9; ++i) {
      quiet.push_back(decode(count));
      const tests::TempDir other;
      BusyWriter writer(*engine_, other.path());
      busy.push_back(decode(count));
      written += folder_bytes(other.path().string());
    }
    const double ratio = median(busy) / median(quiet);
    line("decode while the cache writes " + at(),
         fmt::format("{:.3f} x ({:.0f} against {:.0f} tokens/s, {:.1f} MB/s written)", ratio,
                     median(busy), median(quiet),
                     double(written) / 1e6 / (9 * count / median(busy))),
         "0.97 x", ratio >= 0.97);
  }

  // A process goes on with a turn of 1,500 tokens and is killed behind the first 900.
  void killed() {
    const int from = plan_.steps_end + 900;
    kill_another_in_a_turn(asked_.model, kv(), from, plan_.killed_end);
    const FirstToken told = first_token_of_another(asked_.model, kv(), plan_.killed_end);
    check_bits(told.bits, plan_.killed_end);
    line("after kill -9 in a turn of 1500 tokens " + at() + ": prefilled",
         fmt::format("{} of {}", told.prefilled, plan_.killed_end), "1500 + 4096",
         told.prefilled <= Plan::kTurnTokens + 4096);
  }

  void share_prefix() {
    constexpr int kPrefix = 4096;
    constexpr int kConversations = 64;
    const tests::TempDir other;
    const auto cache = open_cache(*engine_, other.path());
    const auto prompt = [&](int number) {
      std::vector<Token> tokens(tokens_.begin(), tokens_.begin() + kPrefix);
      tokens.push_back(static_cast<Token>(number));
      tokens.push_back(1);
      return tokens;
    };
    std::vector<Session> sessions;
    for (int i = 0; i < kConversations; ++i) {
      sessions.emplace_back(engine_, cache, fmt::format("one of many {}", i));
      sessions.back().sync(prompt(i), {}, {});
      sessions.back().remember();
    }
    cache->flush();
    const CacheUse use = cache->use();
    line(fmt::format("{} conversations with one 4K prefix", kConversations),
         fmt::format("{} blocks in memory, {} on disk", use.memory_blocks, use.disk_blocks), "32",
         use.memory_blocks == 32 && use.disk_blocks == 32);
    Session fresh(engine_);
    fresh.sync(prompt(kConversations - 1), {}, {});
    ++compared_;
    different_ += bits_of(fresh.logits()) != bits_of(sessions.back().logits()) ? 1 : 0;
  }

  void bits_line() const {
    line("logits after all of these " + at() + ", against " +
             (asked_.without_fresh ? "the run that computed it" : "a fresh run"),
         fmt::format("{} of {} have other bits", different_, compared_), "0", different_ == 0);
  }

  const Asked asked_;
  const Plan plan_;
  std::shared_ptr<const Engine> engine_;
  std::vector<Token> tokens_;
  const Computed computed_;
  tests::TempDir dir_;
  int most_again_ = 0;
  int compared_ = 0;
  int different_ = 0;
};

Asked asked_in(const std::vector<std::string>& words) {
  Asked asked;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool more = i + 1 < words.size();
    if (word == "--tokens" && more) {
      asked.tokens = std::atoi(words[++i].c_str());
    } else if (word == "--turns" && more) {
      asked.turns = std::atoi(words[++i].c_str());
    } else if (word == "--flash" && more) {
      asked.flash = std::atoi(words[++i].c_str());
    } else if (word == "--keep" && more) {
      asked.keep = words[++i];
    } else if (word == "--part" && more) {
      asked.part = words[++i];
    } else if (word == "--rows" && more) {
      std::istringstream names(words[++i]);
      for (std::string name; std::getline(names, name, ',');) asked.rows.push_back(name);
    } else if (word == "--random") {
      asked.random = true;
    } else if (word == "--without-fresh") {
      asked.without_fresh = true;
    } else if (word == "--threads" && more) {
      asked.threads = std::atoi(words[++i].c_str());
    } else {
      asked.model = word;
    }
  }
  return asked;
}

void measure(const Asked& asked) {
  const tests::TempDir dir;
  if (!asked.keep.empty()) fs::create_directories(asked.keep);
  const fs::path folder = asked.keep.empty() ? dir.path() : asked.keep;
  if (!asked.part.empty()) {
    Trajectory(asked, folder);
    return;
  }
  fmt::print("| work | measured | limit | |\n|---|---|---|---|\n");
  if (asked.flash > 0) {
    flash_shapes(asked, dir.path().string());
  } else if (asked.random) {
    Trajectory(asked, folder).run_random();
  } else {
    Trajectory(asked, folder).run();
  }
}

}  // namespace
}  // namespace fathom::bench

int main(int count, char** values) {
  using namespace fathom;
  const std::vector<std::string> words(values + 1, values + count);
  try {
    if (bench::is_another(words)) return 0;
    const bench::Asked asked = bench::asked_in(words);
    if (asked.model.empty() && asked.flash == 0) {
      fmt::print(stderr,
                 "trajectory MODEL [--tokens N] [--turns T] [--keep DIR [--part fresh|turns]] "
                 "[--without-fresh] [--random] [--threads N] [--rows NAME,...]\n"
                 "trajectory --flash N [--rows NAME,...]\n");
      return 2;
    }
    bench::measure(asked);
    return bench::all_hold() ? 0 : 1;
  } catch (const std::exception& failed) {
    fmt::print(stderr, "trajectory: {}\n", failed.what());
    return 1;
  }
}
