// A timeline of tokens: feeds chunks to the model, goes back, forks, saves.
// Longer than 500 lines: all of it works on one State, which nobody else may see.
#include "engine/session.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <cmath>
#include <functional>
#include <new>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "engine/cache/kv_cache.h"
#include "engine/cache/lost_rows.h"
#include "engine/cache/random_fill.h"
#include "engine/cache/session_file.h"
#include "engine/cache/snapshots.h"
#include "engine/cache/timeline.h"
#include "engine/cache/token_list.h"
#include "engine/drafting/drafter.h"
#include "engine/error.h"
#include "engine/model/engine_parts.h"
#include "engine/model/forward.h"
#include "engine/scheduling/scheduler.h"
#include "engine/scheduling/window_rebuild.h"

namespace fathom::engine {
namespace {

using Clock = std::chrono::steady_clock;
using Visit = std::function<void(int position, std::span<const float> logits)>;

// Tokens whose logits are handed out at a time: of the official vocabulary they take 16 MB.
constexpr int kVisitRows = 32;
// Tokens since the last moment that are worth another one where timelines part: fewer cost less to
// compute than a moment takes to keep.
constexpr int kBranchMin = 32;

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_finite(const std::filesystem::path& model, std::span<const float> logits, int position) {
  for (const float logit : logits) {
    if (!std::isfinite(logit)) {
      throw Error(
          fmt::format("{}: head.weight gave {} at position {}, expected finite numbers; the "
                      "weights may be damaged",
                      model.string(), std::isnan(logit) ? "NaN" : "infinity", position));
    }
  }
}

// Kept for its memory, of which a fork needs none.
template <class Value>
struct Scratch : Value {
  Scratch() = default;
  Scratch(const Scratch&) : Value() {}
};

}  // namespace

// Between calls cache.length() is tokens.size(), and more while drafts wait to be appended.
struct Session::State {
  State(std::shared_ptr<const Engine> loaded, Timeline shared)
      : engine(std::move(loaded)),
        member(engine->parts().scheduler),
        cache(engine->parts().shape),
        timeline(std::move(shared)),
        drafter(engine->parts()) {}

  // How a run of tokens is fed.
  struct Feed {
    std::span<const Token> tokens;
    const Visit* visit = nullptr;  // logits of every token; null: only of the last
    const PrefillProgress* progress = nullptr;
    std::stop_token stop = {};
    bool keep_start = false;  // snapshot where the feed begins
    int drafts = 0;           // the last tokens: computed, but no part of the timeline yet
  };

  int length() const noexcept { return cache.length(); }
  int to_stop() const noexcept;
  Prefill sync(std::span<const Token> prompt, const PrefillProgress& progress,
               const std::stop_token& stop);
  Prefill sync_once(std::span<const Token> prompt, const PrefillProgress& progress,
                    const std::stop_token& stop);
  int feed(const Feed& feed);
  int feed_chunk(const Feed& feed, Report& report);
  void append(Token token);
  void feed_again();
  std::span<const Token> with_drafts(const Token& token);
  void drop_drafts() noexcept;
  void take_snapshot(bool share);
  void adopt(const Prefix& prefix, std::span<const Token> prompt);
  void hand_out_logits(const Feed& feed, int rows);
  // How many tokens a prompt has in common with these, and how many of them are worth having: the
  // last token is computed again if its logits are gone.
  struct Overlap {
    int known = 0;
    int wanted = 0;
  };
  Overlap overlap(std::span<const Token> prompt) const noexcept;
  bool stands_at(std::span<const Token> prompt) const noexcept;  // nothing is left to do
  void reuse(std::span<const Token> prompt, const PrefillProgress& progress,
             const std::stop_token& stop, int wanted, Prefill& prefill);
  bool rebuild(Prefix& prefix, std::span<const Token> prompt, const PrefillProgress& progress,
               const std::stop_token& stop);
  int reachable(int wanted) const noexcept;
  void go_back(int tokens);
  void forget() noexcept;
  void check_ids(std::span<const Token> fed) const;

  std::shared_ptr<const Engine> engine;
  Scheduler::Member member;
  KvCache cache;
  Snapshots snapshots;
  Timeline timeline;
  std::vector<int> marks;          // positions of the next sync() that are worth a moment
  int losses = 0;                  // of mapped rows, that no Prefill has told yet
  std::vector<Token> before_loss;  // the timeline at the last one
  TokenList tokens;
  std::vector<float> logits;
  Drafter drafter;
  Undo undo;                             // of the drafts
  Scratch<std::vector<float>> computed;  // logits of a chunk
  Scratch<std::vector<float>> followed;  // streams for the drafter
  Scratch<Snapshot> before_chunk;        // to return to when a pass is ended
  bool records_streams = false;
  std::vector<float> streams;  // [tokens, hc_mult · hidden_size] if recorded from the first token
};

void Session::State::check_ids(std::span<const Token> fed) const {
  const int vocab = engine->config().vocab_size;
  for (const Token token : fed) {
    if (token < 0 || token >= vocab) {
      throw Error(fmt::format("token id {} is outside the model's vocabulary of {}", token, vocab));
    }
  }
}

// Computes tokens in chunks that end on page boundaries; returns how many. A chunk that is stopped
// is undone: its tokens are not remembered.
int Session::State::feed(const Feed& feed) {
  check_ids(feed.tokens);
  const auto total = static_cast<int>(feed.tokens.size());
  Report report{.call = feed.progress, .total = total};
  try {
    while (report.done < total) {
      const bool shared =
          (feed.keep_start && report.done == 0) || std::ranges::count(marks, length()) > 0;
      if (length() > 0 && (shared || length() % kPageTokens == 0)) take_snapshot(shared);
      const int rows = feed_chunk(feed, report);
      if (rows == 0) break;
      report.done += rows;
    }
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("not enough memory for a context of {} tokens; {} are computed",
                            length() + total - report.done, length()));
  } catch (const Refusal&) {
    throw;
  } catch (const LostRows&) {
    ++losses;
    before_loss.assign(tokens.begin(), tokens.end());
    forget();
    throw;
  } catch (const Error&) {
    forget();
    throw;
  }
  return report.done;
}

// Makes this session again what it was when rows of it were lost.
void Session::State::feed_again() {
  losses += sync(std::exchange(before_loss, {}), {}, {}).damaged;
}

// After a pass that failed: what it left is no state to go on from.
void Session::State::forget() noexcept {
  snapshots.drop_after(0);
  cache.clear();
  timeline.cut(0);
  drafter.cut(0);
  tokens.shorten(0);
  logits.clear();
  streams.clear();
}

// Tokens until the end of the page, or until a mark.
int Session::State::to_stop() const noexcept {
  int rows = kPageTokens - length() % kPageTokens;
  for (const int mark : marks) {
    if (mark > length()) rows = std::min(rows, mark - length());
  }
  return rows;
}

// Computes what follows, at most to the end of the page. Returns how many tokens; 0: stopped.
int Session::State::feed_chunk(const Feed& feed, Report& report) {
  const ModelConfig& config = engine->config();
  const int left = report.total - report.done;
  const int rows = std::min({left, to_stop(), feed.visit != nullptr ? kVisitRows : left});
  const auto chunk = feed.tokens.subspan(size(report.done), size(rows));
  const int logit_rows = feed.visit != nullptr ? rows : rows == left ? 1 + feed.drafts : 0;
  const std::int64_t width = std::int64_t{config.hc_mult} * config.hidden_size;

  // All memory before the first change.
  member.claim(cache.bytes_for(length() + rows) + snapshots.bytes() + drafter.bytes());
  cache.reserve(length() + rows);
  tokens.reserve(std::bit_ceil(tokens.size() + chunk.size()));
  drafter.reserve();
  if (feed.drafts > 0) cache.keep_undo(rows - feed.drafts, rows, undo);
  computed.resize(size(std::int64_t{logit_rows} * config.vocab_size));
  const int stream_rows = records_streams ? rows : drafter.streams_wanted(rows);
  std::vector<float>& kept = records_streams ? streams : followed;
  const std::size_t streams_before = records_streams ? streams.size() : 0;
  kept.resize(streams_before + size(stream_rows * width));

  int done = 0;
  try {
    done = member.compute({.cache = cache,
                           .tokens = chunk,
                           .before = before_chunk,
                           .logits = computed.data(),
                           .logit_rows = logit_rows,
                           .streams = kept.data() + streams_before,
                           .stream_rows = stream_rows,
                           .goes_on = rows < left,
                           .report = &report,
                           .stop = feed.stop});
  } catch (...) {
    kept.resize(streams_before);
    throw;
  }
  const int streams_done = std::max(0, done - (rows - stream_rows));
  kept.resize(streams_before + size(streams_done * width));
  if (done == 0) return 0;
  tokens.append(chunk.first(size(done - feed.drafts)));
  logits.clear();
  drafter.follow(length() - streams_done,
                 {kept.data() + streams_before, streams_done, static_cast<int>(width), width});
  timeline.follow(tokens, cache);
  if (feed.visit != nullptr || done == left) hand_out_logits(feed, done);
  return done;
}

// `computed` holds logits: of the last `rows` tokens if they are visited, or else of the last one
// and the drafts behind it.
void Session::State::hand_out_logits(const Feed& feed, int rows) {
  const std::size_t vocab = size(engine->config().vocab_size);
  const int count = feed.visit != nullptr ? rows : 1 + feed.drafts;
  const int sure = count - feed.drafts;
  const auto row = [&](int i) { return std::span(computed).subspan(size(i) * vocab, vocab); };
  for (int i = 0; i < sure; ++i) {
    check_finite(engine->parts().model_path, row(i), length() - count + i);
    if (feed.visit != nullptr) (*feed.visit)(length() - count + i, row(i));
  }
  const auto last = row(sure - 1);
  logits.assign(last.begin(), last.end());
  for (int i = sure; i < count; ++i) {
    if (!drafter.keep(row(i))) return;
  }
}

// Appends a token whose logits may be there already, because it was drafted.
void Session::State::append(Token token) {
  if (const auto known = drafter.take(token); !known.empty()) {
    tokens.append({&token, 1});  // for which feed() made room
    logits.assign(known.begin(), known.end());
    timeline.follow(tokens, cache);
    return;
  }
  drop_drafts();
  check_ids({&token, 1});
  const std::span<const Token> fed = with_drafts(token);
  const auto start = Clock::now();
  try {
    feed({.tokens = fed, .drafts = static_cast<int>(fed.size()) - 1});
  } catch (const LostRows&) {
    before_loss.push_back(token);
    return feed_again();
  }
  drafter.passed(seconds_since(start));
}

// What is fed where `token` is appended. `token` outlives it.
std::span<const Token> Session::State::with_drafts(const Token& token) {
  try {
    // A page is full when all of its tokens are sure, so drafts end where it does.
    return drafter.draft(tokens, token, records_streams ? 1 : to_stop());
  } catch (const std::bad_alloc&) {
    drafter.forget_drafts();
    return {&token, 1};
  } catch (const Error&) {
    forget();
    throw;
  }
}

// Makes the cache that of the timeline again.
void Session::State::drop_drafts() noexcept {
  const auto kept = static_cast<int>(tokens.size());
  if (length() > kept) cache.take_back(kept, undo);
  drafter.cut(kept);
}

// Shares it with other sessions at multiples of kMomentEvery in any case.
void Session::State::take_snapshot(bool share) {
  auto moment = snapshots.latest(length());
  const bool known = moment && moment->tokens == length();
  if (known && !share) return;
  if (!known) {
    auto snapshot = std::make_shared<Snapshot>();
    cache.capture(*snapshot);
    if (cache.has_lost_rows()) return;  // some may be in it; the next pass finds out
    snapshots.add(snapshot);
    moment = std::move(snapshot);
  }
  if (share || length() % kMomentEvery == 0) timeline.add_moment(tokens, std::move(moment));
}

void Session::State::adopt(const Prefix& prefix, std::span<const Token> prompt) {
  cache.adopt(prefix.pages, *prefix.moment);
  const auto [ours, theirs] = std::ranges::mismatch(tokens, prompt);
  snapshots.drop_after(static_cast<int>(ours - tokens.begin()));
  timeline.cut(static_cast<int>(ours - tokens.begin()));
  drafter.cut(static_cast<int>(ours - tokens.begin()));
  snapshots.add(prefix.moment);
  tokens.assign(prompt.first(size(prefix.tokens)));
  logits.clear();
  timeline.follow(tokens, cache);
}

Session::State::Overlap Session::State::overlap(std::span<const Token> prompt) const noexcept {
  const auto [ours, theirs] = std::ranges::mismatch(tokens, prompt);
  const auto known = static_cast<int>(ours - tokens.begin());
  return {.known = known, .wanted = theirs == prompt.end() ? std::max(0, known - 1) : known};
}

bool Session::State::stands_at(std::span<const Token> prompt) const noexcept {
  return std::ranges::equal(tokens, prompt) && !logits.empty();
}

// How many of the first `wanted` tokens this session can go back to by itself.
int Session::State::reachable(int wanted) const noexcept {
  if (wanted == length()) return wanted;
  const auto moment = snapshots.latest(wanted);
  return moment ? moment->tokens : 0;
}

// Takes from its own past, or from the shared cache, whichever knows more of the prompt.
void Session::State::reuse(std::span<const Token> prompt, const PrefillProgress& progress,
                           const std::stop_token& stop, int wanted, Prefill& prefill) {
  // The streams of tokens that others computed are not kept.
  if (timeline && !records_streams && !prompt.empty()) {
    PrefixCache::Parts::Found found = timeline.find(prompt, reachable(wanted));
    prefill.damaged = found.damaged;
    if (found.known > prefill.known) {
      prefill.known = found.known;
      prefill.instead = std::move(found.instead);
    }
    if (found.prefix && rebuild(*found.prefix, prompt, progress, stop)) {
      adopt(*found.prefix, prompt);
      prefill.reused_disk = found.prefix->disk_tokens;
      prefill.rebuilt = found.prefix->rebuild_tokens;
      return;
    }
  }
  go_back(wanted);
}

// Gives the prefix its moment if nobody kept one. False if it was stopped.
bool Session::State::rebuild(Prefix& prefix, std::span<const Token> prompt,
                             const PrefillProgress& progress, const std::stop_token& stop) {
  if (prefix.moment) return true;
  const int rest = static_cast<int>(prompt.size()) - prefix.tokens;
  Report report{.call = &progress, .total = prefix.rebuild_tokens + rest};
  const KnownRows rows{.shape = engine->parts().shape,
                       .pages = prefix.pages,
                       .tokens = prompt.first(size(prefix.tokens))};
  try {
    // Its own state is there until the other one is whole.
    member.claim(cache.bytes() + cache.bytes_for(prefix.tokens) + snapshots.bytes());
    prefix.moment = rebuild_windows(member, rows, report, stop);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("not enough memory to take up {} tokens", prefix.tokens));
  } catch (const Refusal&) {
    throw;
  } catch (const LostRows&) {
    ++losses;
    return false;
  } catch (const Error&) {
    forget();
    throw;
  }
  return prefix.moment != nullptr;
}

// To the latest moment of at most `wanted` tokens that is still known.
void Session::State::go_back(int wanted) {
  assert(wanted <= length());
  if (wanted == length()) return;
  snapshots.drop_after(wanted);
  if (const auto moment = snapshots.latest(wanted)) {
    cache.go_back(*moment);
  } else {
    cache.clear();
  }
  tokens.shorten(size(length()));
  timeline.cut(length());
  drafter.cut(length());
  logits.clear();
  const std::int64_t width = std::int64_t{engine->config().hc_mult} * engine->config().hidden_size;
  if (std::ssize(streams) > length() * width) streams.resize(size(length() * width));
}

Session::Session(std::shared_ptr<const Engine> engine, std::shared_ptr<PrefixCache> cache,
                 std::string_view name)
    : state_(std::make_unique<State>(std::move(engine), Timeline(std::move(cache), name))) {}
Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Prefill Session::State::sync_once(std::span<const Token> prompt, const PrefillProgress& progress,
                                  const std::stop_token& stop) {
  drop_drafts();
  const auto [known, wanted] = overlap(prompt);
  const auto after = tokens.begin() + known;
  Prefill prefill;
  prefill.known = known;
  prefill.instead.assign(after, after + std::min<std::ptrdiff_t>(tokens.end() - after, 16));
  if (!stands_at(prompt)) reuse(prompt, progress, stop, wanted, prefill);
  const int start_tokens = length();
  // Where one timeline left another, a third one may.
  if (prefill.known - start_tokens >= kBranchMin) marks.push_back(prefill.known);
  prefill.reused = start_tokens - prefill.rebuilt;
  const PrefillProgress with_rebuilt = [&](int done, int total) {
    if (progress) progress(prefill.rebuilt + done, prefill.rebuilt + total);
  };
  prefill.prefilled =
      prefill.rebuilt + feed({.tokens = prompt.subspan(size(start_tokens)),
                              .progress = prefill.rebuilt > 0 ? &with_rebuilt : &progress,
                              .stop = stop,
                              .keep_start = true});
  marks.clear();
  prefill.damaged += std::exchange(losses, 0);
  return prefill;
}

// Rows that were mapped from a file of the cache can be lost at any time; then all is taken up
// anew. A file is mapped no more once some of it was lost, so this ends.
Prefill Session::State::sync(std::span<const Token> prompt, const PrefillProgress& progress,
                             const std::stop_token& stop) {
  const auto start = Clock::now();
  check_ids(prompt);
  while (true) {
    try {
      Prefill prefill = sync_once(prompt, progress, stop);
      prefill.seconds = seconds_since(start);
      return prefill;
    } catch (const LostRows&) {
    }
  }
}

Prefill Session::sync(std::span<const Token> prompt, const PrefillProgress& progress,
                      std::stop_token stop) {
  return state_->sync(prompt, progress, stop);
}

int Session::to_compute(std::span<const Token> prompt) {
  State& state = *state_;
  state.drop_drafts();
  if (state.stands_at(prompt)) return 0;
  int reused = state.reachable(state.overlap(prompt).wanted);
  if (state.timeline && !state.records_streams && !prompt.empty()) {
    reused = std::max(reused, state.timeline.reachable(prompt, reused));
  }
  return static_cast<int>(prompt.size()) - reused;
}

void Session::remember_at(int position) {
  assert(position > 0);
  if (state_->timeline) state_->marks.push_back(position);
}

void Session::remember() {
  State& state = *state_;
  state.drop_drafts();
  if (!state.timeline || state.length() == 0) return;
  state.timeline.follow(state.tokens, state.cache);
  state.take_snapshot(/*share=*/true);
}

std::span<const float> Session::append(Token token) {
  state_->append(token);
  return state_->logits;
}

void Session::extend(std::span<const Token> tokens, const Visit& visit) {
  state_->drop_drafts();
  state_->feed({.tokens = tokens, .visit = &visit});
}

void Session::set_priority(Priority priority) noexcept {
  state_->member.set_priority(priority);
}

void Session::truncate(int tokens) {
  State& state = *state_;
  state.drop_drafts();
  assert(tokens >= 0 && tokens <= state.length());
  if (tokens == state.length()) return;
  const std::vector<Token> kept(state.tokens.begin(), state.tokens.begin() + tokens);
  state.go_back(std::max(0, tokens - 1));
  try {
    state.feed({.tokens = std::span(kept).subspan(size(state.length()))});
  } catch (const LostRows&) {
    state.before_loss = kept;
    state.feed_again();
  }
}

std::span<const Token> Session::tokens() const noexcept {
  return state_->tokens;
}
std::span<const float> Session::logits() const noexcept {
  return state_->logits;
}
DraftCounts Session::drafts() const noexcept {
  return state_->drafter.counts();
}

// Drafts are no part of what a session is, so that a const one may drop them.
Session Session::fork() const {
  state_->drop_drafts();
  return Session(std::make_unique<State>(*state_));
}

void Session::save(const std::filesystem::path& file) const {
  state_->drop_drafts();
  write_session(
      file, state_->engine->fingerprint(), state_->cache,
      {.tokens = {state_->tokens.begin(), state_->tokens.end()}, .logits = state_->logits});
}

Session Session::restore(std::shared_ptr<const Engine> engine, const std::filesystem::path& file) {
  auto state = std::make_unique<State>(std::move(engine), Timeline());
  SessionContents contents = read_session(file, state->engine->fingerprint(),
                                          state->engine->config().vocab_size, state->cache);
  state->tokens = TokenList(std::move(contents.tokens));
  state->logits = std::move(contents.logits);
  return Session(std::move(state));
}

void Session::record_streams(bool on) {
  state_->drop_drafts();
  state_->records_streams = on;
}

void Session::mtp(std::span<const int> positions, const Visit& visit) {
  State& state = *state_;
  state.drop_drafts();
  const Engine::Parts& parts = state.engine->parts();
  if (parts.weights.mtp.empty()) throw Error("this model has no MTP block");
  const int width = parts.weights.config.hc_mult * parts.weights.config.hidden_size;
  if (std::ssize(state.streams) != std::int64_t{state.length()} * width) {
    throw Error("the MTP block needs the streams of all tokens: record_streams() before feeding");
  }
  if (positions.empty()) return;
  const int end = std::ranges::max(positions) + 1;
  assert(std::ranges::min(positions) >= 0 && end < state.length());

  const MtpWeights& block = parts.weights.mtp.front();
  KvCache cache(parts.mtp_shape);
  const std::lock_guard lock(parts.scheduler);
  for (int first = 0; first < end; first += kPageTokens) {
    const int rows = std::min(kPageTokens, end - first);
    cache.reserve(end);
    parts.space.reserve(rows, cache.shape().row.bytes);
    parts.backend->reserve(rows, end);
    const Sequence sequence{.cache = &cache, .first_row = 0, .rows = rows};
    Pass pass = parts.compute.pass(parts.space, {&sequence, 1},
                                   std::span(state.tokens).subspan(size(first + 1), size(rows)));
    mtp_forward(pass, parts.weights, block,
                {state.streams.data() + std::int64_t{first} * width, rows, width, width});
    for (const int position : positions) {
      if (position < first || position >= first + rows) continue;
      const Matrix all = pass.matrix(parts.space.streams, width);
      const Matrix found =
          mtp_head(pass, parts.weights, block, {all.row(position - first), 1, width, width});
      visit(position, {found.row(0), size(found.width)});
    }
  }
}

void Session::fill_random(std::span<const Token> tokens) {
  State& state = *state_;
  state.check_ids(tokens);
  state.drop_drafts();
  state.go_back(0);
  try {
    engine::fill_random(state.cache, static_cast<int>(tokens.size()));
    state.tokens.assign(tokens);
  } catch (const std::bad_alloc&) {
    state.cache.clear();
    throw Error(fmt::format("not enough memory for a context of {} tokens", tokens.size()));
  }
}

std::int64_t Session::bytes() const noexcept {
  const State& state = *state_;
  const std::size_t beside = state.tokens.bytes() +
                             (state.logits.capacity() + state.computed.capacity() +
                              state.followed.capacity() + state.streams.capacity()) *
                                 sizeof(float) +
                             state.before_chunk.bytes.capacity();
  return state.cache.bytes() + state.snapshots.bytes() + state.drafter.bytes() +
         static_cast<std::int64_t>(beside);
}

}  // namespace fathom::engine
