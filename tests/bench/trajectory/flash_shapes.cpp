// Bytes and times at the published V4-Flash shape, with random rows: no weights are needed for
// them.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "engine/cache/random_fill.h"
#include "engine/cache/shared_prefixes.h"
#include "engine/config.h"
#include "trajectory/table.h"

namespace fathom::bench {
namespace {

using namespace engine;

constexpr const char* kFingerprint = "flash-shape-official";

ModelConfig flash() {
  ModelConfig config;
  config.head_dim = 512;
  config.qk_rope_head_dim = 64;
  config.index_head_dim = 128;
  config.sliding_window = 128;
  config.compress_ratios = {0, 0};
  for (int layer = 2; layer < 43; ++layer) {
    config.compress_ratios.push_back(layer % 2 == 0 ? 4 : 128);
  }
  return config;
}

PrefixCacheOptions options_in(const std::string& folder) {
  return {.memory_bytes = std::int64_t{8} << 30, .folder = folder};
}

std::shared_ptr<const Snapshot> captured(const KvCache& cache) {
  auto snapshot = std::make_shared<Snapshot>();
  cache.capture(*snapshot);
  return snapshot;
}

// Leaves what a session of `turns` turns leaves on its way to the end: blocks, multiples, ends.
void leave(PrefixCache::Parts& parts, KvCache& cache, std::span<const Token> tokens, int turns) {
  const auto all = static_cast<int>(tokens.size());
  const int turn = all / turns;
  BlockKey key = parts.root();
  for (int number = 0; number < all / kPageTokens; ++number) {
    const auto ids = tokens.subspan(static_cast<std::size_t>(number) * kPageTokens, kPageTokens);
    Block block{.parent = key, .number = number, .page = cache.share_page(number)};
    std::ranges::copy(ids, block.ids.begin());
    key = next_key(key, ids);
    parts.add_block(key, block);
    const int end = (number + 1) * kPageTokens;
    // The states are all of one size; which bytes they hold does not matter here.
    const bool multiple = end % kMomentEvery == 0;
    const bool turn_ends = end / turn != (end - kPageTokens) / turn;
    if (!multiple && !turn_ends) continue;
    auto state = std::make_shared<Snapshot>();
    const int open = multiple ? 0 : kPageTokens - 1;
    state->tokens = end + open;
    state->bytes.resize(static_cast<std::size_t>(cache.shape().state_bytes(end + open)));
    Moment moment{.tokens = end + open, .state = std::move(state)};
    moment.origin = {.owner = 1, .named = true};
    moment.open.assign(static_cast<std::size_t>(open), 1);
    parts.add_moment(key, std::move(moment));
    // As fast as a real session, so that the writer keeps up as it does there.
    parts.flush();
  }
  Moment moment{.tokens = all, .state = captured(cache)};
  moment.origin = {.owner = 1, .named = true};
  const auto open = tokens.subspan(static_cast<std::size_t>(all / kPageTokens) * kPageTokens);
  moment.open.assign(open.begin(), open.end());
  parts.add_moment(key, std::move(moment));
  parts.flush();
}

void fork_line(const KvCache& cache, int tokens) {
  std::vector<double> times;
  std::int64_t bytes = 0;
  for (int i = 0; i < 7; ++i) {
    const std::int64_t before = own_bytes();
    const auto start = Clock::now();
    const KvCache child(cache);
    times.push_back(seconds_since(start));
    bytes = std::max(bytes, own_bytes() - before);
  }
  std::ranges::sort(times);
  const bool aligned = tokens % kPageTokens == 0;
  const double limit = aligned ? 4.9e6 : 15.4e6;
  line(fmt::format("V4-Flash shape: fork at {}", tokens),
       fmt::format("{:.2f} ms, {:.1f} MB new", 1e3 * times[3], static_cast<double>(bytes) / 1e6),
       fmt::format("5 ms, {:.1f} MB", limit / 1e6),
       times[3] <= 5e-3 && static_cast<double>(bytes) <= limit + 1e6);
}

void restore_line(const std::shared_ptr<const CacheShape>& shape, std::span<const Token> tokens,
                  const std::string& folder) {
  const double bandwidth = read_bandwidth(folder);
  const auto start = Clock::now();
  PrefixCache::Parts parts(kFingerprint, shape, options_in(folder));
  const double opened = seconds_since(start);
  std::vector<Token> prompt(tokens.begin(), tokens.end());
  prompt.push_back(1);
  const auto found = parts.longest_prefix(prompt, 0);
  if (!found.prefix) {
    line("V4-Flash shape: restore", "nothing found", "", false);
    return;
  }
  KvCache cache(shape);
  cache.adopt(found.prefix->pages, *found.prefix->moment);
  const double seconds = seconds_since(start);
  const double bytes =
      static_cast<double>(shape->page_bytes) * std::ceil(double(tokens.size()) / kPageTokens);
  const double limit = 1.5 * bytes / bandwidth + 0.3;
  line(fmt::format("V4-Flash shape: restore {} tokens, {:.2f} GB", found.prefix->tokens,
                   bytes / 1e9),
       fmt::format("{:.2f} s (opening {:.2f}); files read at {:.1f} GB/s", seconds, opened,
                   bandwidth / 1e9),
       fmt::format("{:.2f} s", limit),
       seconds <= limit && found.prefix->tokens == std::ssize(tokens));
}

// What going back would compute, of what is on disk; nothing is computed here.
void rewind_line(const std::shared_ptr<const CacheShape>& shape, std::span<const Token> tokens,
                 const std::string& folder) {
  PrefixCache::Parts parts(kFingerprint, shape, options_in(folder));
  std::mt19937 random(2);
  int most = 0;
  for (int i = 0; i < 256; ++i) {
    const auto place = 1 + static_cast<int>(random() % (tokens.size() - 1));
    std::vector<Token> prompt(tokens.begin(), tokens.begin() + place);
    prompt.push_back(-1);
    most = std::max(most, place - parts.reachable(prompt, 0));
  }
  line(fmt::format("V4-Flash shape: rewind to any older place of {}, from disk: prefilled",
                   tokens.size()),
       fmt::format("{}", most), "4096", most <= kMomentEvery);
}

}  // namespace

void flash_shapes(const Asked& asked, const std::string& folder) {
  const int tokens = asked.flash;
  const ModelConfig config = flash();
  const auto shape =
      std::make_shared<CacheShape>(config, Rounding::official, config.compress_ratios);
  std::vector<Token> ids(static_cast<std::size_t>(tokens));
  std::mt19937 random(1);
  std::ranges::generate(ids, [&] { return static_cast<Token>(random() % 100'000); });
  {
    KvCache cache(shape);
    fill_random(cache, tokens);
    if (asked.wants("fork")) fork_line(cache, tokens);
    if (!asked.wants("disk") && !asked.wants("restore") && !asked.wants("rewind")) return;
    PrefixCache::Parts parts(kFingerprint, shape, options_in(folder));
    leave(parts, cache, ids, 200);
    const double state = static_cast<double>(shape->page_bytes) * tokens / kPageTokens +
                         static_cast<double>(shape->state_bytes(tokens));
    const double disk = static_cast<double>(folder_bytes(folder));
    line(fmt::format("V4-Flash shape: disk after 200 turns to {}", tokens),
         fmt::format("{:.0f} MB, {:.3f} x the state", disk / 1e6, disk / state), "1.15 x",
         disk <= 1.15 * state);
  }
  if (asked.wants("restore")) restore_line(shape, ids, folder);
  if (asked.wants("rewind")) rewind_line(shape, ids, folder);
}

}  // namespace fathom::bench
