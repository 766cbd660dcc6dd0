// The fresh run is one session that nothing is shared with; the turns are what a user does.
#include "trajectory/computed.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "engine/session.h"
#include "support/temp_dir.h"
#include "trajectory/table.h"

namespace fathom::bench {
namespace {

using namespace engine;

// One line that is written over, or lines that a log can hold: every five seconds.
class Progress {
 public:
  explicit Progress(const char* what) : what_(what) {}
  void at(int done, int total) {
    if (seconds_since(last_) < 5) return;
    last_ = Clock::now();
    fmt::print(stderr, "{}: {} of {} tokens, {:.0f} s\n", what_, done, total,
               seconds_since(start_));
  }

 private:
  const char* what_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

void sync(Session& session, std::span<const Token> prompt, Progress& progress, int total) {
  const int start = static_cast<int>(session.tokens().size());
  session.sync(prompt, [&](int done, int) { progress.at(start + done, total); }, {});
}

void run_fresh(const std::shared_ptr<const Engine>& engine, const Plan& plan,
               std::span<const Token> tokens, Facts& facts) {
  Session session(engine);
  Progress progress("a fresh run");
  for (const int length : plan.checked()) {
    sync(session, tokens.first(static_cast<std::size_t>(length)), progress, plan.killed_end);
    facts.bits[length] = bits_of(session.logits());
  }
}

// Logits behind the turns, by a copy of the session that leaves nothing in the cache.
void go_on(const std::shared_ptr<const Engine>& engine, const Session& session, const Plan& plan,
           std::span<const Token> tokens, Facts& facts) {
  facts.bits[plan.end] = bits_of(session.logits());
  const tests::TempDir dir;
  session.save(dir.path() / "session");
  Session copy = Session::restore(engine, dir.path() / "session");
  for (const int length : plan.checked()) {
    if (length <= plan.end) continue;
    copy.sync(tokens.first(static_cast<std::size_t>(length)), {}, {});
    facts.bits[length] = bits_of(copy.logits());
  }
}

// Every turn prefills its new tokens and nothing else; then back to places of long ago. A run that
// was ended goes on behind the last turn that is on disk.
void run_turns(const std::shared_ptr<const Engine>& engine, const Asked& asked,
               std::span<const Token> tokens, const std::filesystem::path& folder, Facts& facts) {
  const auto cache = open_cache(*engine, folder / "kv");
  Session session(engine, cache, kName);
  Progress progress("turns over a cache");
  auto start = Clock::now();
  while (facts.turns < asked.turns) {
    const auto end_of = [&](int turn) {
      return static_cast<int>(std::int64_t{asked.tokens} * turn / asked.turns);
    };
    const int before = end_of(facts.turns), end = end_of(facts.turns + 1);
    const Prefill prefill =
        session.sync(tokens.first(static_cast<std::size_t>(end)),
                     [&](int done, int) { progress.at(before + done, asked.tokens); }, {});
    session.remember();
    cache->flush();
    facts.wrong_turns += prefill.prefilled != end - before ? 1 : 0;
    facts.seconds += seconds_since(std::exchange(start, Clock::now()));
    ++facts.turns;
    write_facts(folder / "turns", facts);
  }
  go_on(engine, session, Plan(asked), tokens, facts);
  for (const int place : Plan(asked).older) {
    const Prefill prefill = session.sync(tokens.first(static_cast<std::size_t>(place) + 1), {}, {});
    facts.rewound = std::max(facts.rewound, prefill.prefilled - 1);
    facts.bits[place + 1] = bits_of(session.logits());
  }
}

}  // namespace

Computed computed(const std::shared_ptr<const Engine>& engine, const Asked& asked,
                  std::span<const Token> tokens, const std::filesystem::path& folder) {
  const std::string of =
      fmt::format("{} {} tokens in {} turns", engine->fingerprint(), asked.tokens, asked.turns);
  Computed known{.fresh = read_facts(folder / "fresh", of).value_or(Facts{.of = of}),
                 .turns = read_facts(folder / "turns", of).value_or(Facts{.of = of})};
  if (known.fresh.bits.empty() && asked.part != "turns" && !asked.without_fresh) {
    run_fresh(engine, Plan(asked), tokens, known.fresh);
    write_facts(folder / "fresh", known.fresh);
  }
  if (known.turns.bits.empty() && asked.part != "fresh") {
    if (known.turns.turns == 0) std::filesystem::remove_all(folder / "kv");
    run_turns(engine, asked, tokens, folder, known.turns);
    write_facts(folder / "turns", known.turns);
  }
  return known;
}

std::shared_ptr<PrefixCache> open_cache(const Engine& engine, const std::filesystem::path& folder) {
  return std::make_shared<PrefixCache>(
      engine, PrefixCacheOptions{.memory_bytes = std::int64_t{8} << 30, .folder = folder});
}

}  // namespace fathom::bench
