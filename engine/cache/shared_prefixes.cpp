// Finds prefixes and takes what sessions compute.
#include "engine/cache/shared_prefixes.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <new>
#include <set>
#include <utility>

#include "engine/cache/rebuild_plan.h"
#include "engine/weights/watched_pages.h"

namespace fathom::engine {
namespace {

// Of the folder's limit, so that eviction has a choice.
constexpr std::int64_t kSegmentsPerLimit = 8;

SegmentKind kind_for(BlockKey root, std::string_view fingerprint, const CacheShape& shape) {
  return {.root = root, .page_bytes = shape.page_bytes, .fingerprint = std::string(fingerprint)};
}

// Or else it is a place whose windows must be computed again.
bool is_kept(const Moment& moment) {
  return moment.state || !moment.file.empty();
}

}  // namespace

PrefixCache::Parts::Parts(std::string_view fingerprint, std::shared_ptr<const CacheShape> shape,
                          PrefixCacheOptions options)
    : root_(root_key(fingerprint)),
      shape_(std::move(shape)),
      page_bytes_(shape_->page_bytes),
      options_(std::move(options)),
      tree_(root_, page_bytes_),
      next_shrink_(options_.memory_bytes) {
  if (options_.folder.empty()) return;
  store_.emplace(options_.folder / "v1", kind_for(root_, fingerprint, *shape_),
                 std::min(BlockStore::kSegmentBytes, options_.disk_bytes / kSegmentsPerLimit));
  try {
    store_->prepare();
    writes_ = true;
  } catch (const std::exception& failed) {
    give_up_writing(failed.what());  // what lies there may still be read
  }
  {
    const std::lock_guard lock(mutex_);
    see_news();
  }
  if (writes_) writer_ = std::jthread([this](const std::stop_token& stop) { write_tasks(stop); });
}

PrefixCache::Parts::~Parts() {
  flush();
  if (!writer_.joinable()) return;
  writer_.request_stop();
  writer_.join();
}

void PrefixCache::Parts::see_news() {
  if (!store_) return;
  if (const std::uint64_t losses = WatchedPages::losses(); losses != losses_seen_) {
    losses_seen_ = losses;
    tree_.lose_pages(WatchedPages::lost_at);
    left_out_ = true;
  }
  const BlockStore::News news = store_->look();
  for (const int segment : news.gone) tree_.lose_segment(segment);
  if (!news.gone.empty()) {
    forget_ways();
    left_out_ = true;
  }
  for (const BlockStore::StoredBlock& found : news.blocks) {
    tree_.add(found.head.key, {.parent = found.head.parent,
                               .number = static_cast<int>(found.head.number),
                               .ids = found.head.ids,
                               .page = nullptr,
                               .place = found.place});
  }
  for (const BlockStore::StoredMoment& found : news.moments) {
    tree_.add(found.after, found.moment);
    if (found.moment.origin.named && found.moment.tokens % kMomentEvery != 0) {
      std::error_code failed;
      const auto bytes = std::filesystem::file_size(found.moment.file, failed);
      End end{.after = found.after, .moment = found.moment};
      end.bytes = failed ? 0 : static_cast<std::int64_t>(bytes);
      ends_[found.moment.origin.owner].push_back(std::move(end));
    }
  }
}

// A turn that goes on from its session's own end would hash its whole prompt to find nothing more.
PrefixTree::Path PrefixCache::Parts::walk(std::span<const Token> prompt, int longer_than,
                                          KnownWay own) {
  see_news();
  const auto limit = static_cast<int>(prompt.size()) - 1;
  if (own.blocks > 0) {
    PrefixTree::Path behind = tree_.walk(prompt, longer_than, limit, own);
    const int pages =
        std::min(limit / kPageTokens, own.blocks + static_cast<int>(behind.steps.size()));
    const bool known = behind.known >= own.blocks * kPageTokens;
    if (known && behind.stops.empty() &&
        RebuildPlan(*shape_, pages).worth_a_moment_at() <= longer_than) {
      behind.steps.clear();
      return behind;
    }
  }
  return tree_.walk(prompt, longer_than, limit);
}

PrefixCache::Parts::Found PrefixCache::Parts::longest_prefix(std::span<const Token> prompt,
                                                             int longer_than, KnownWay own) {
  std::unique_lock lock(mutex_);
  PrefixTree::Path path = walk(prompt, longer_than, own);
  Found found{.prefix = std::nullopt, .known = path.known, .instead = path.instead};
  int whole = static_cast<int>(prompt.size()) - 1;
  while (const auto stop = best_stop(path, longer_than, whole)) {
    Prefix prefix{.tokens = stop->moment.tokens, .moment = stop->moment.state};
    lock.unlock();
    const Loaded loaded = load(path, *stop, prefix, whole);
    lock.lock();
    if (loaded == Loaded::damaged) ++found.damaged;
    if (loaded == Loaded::yes) {
      take(path, *stop, prefix);
      found.prefix = std::move(prefix);
      break;
    }
    std::erase_if(path.stops, [&](const PrefixTree::Stop& tried) {
      return tried.moment.tokens == stop->moment.tokens;
    });
  }
  return found;
}

// What was read for a prefix is in memory now, and used.
void PrefixCache::Parts::take(const PrefixTree::Path& path, const PrefixTree::Stop& stop,
                              Prefix& prefix) {
  for (std::size_t i = 0; i < prefix.pages.size(); ++i) {
    const BlockKey key = path.steps[i].key;
    if (const Block* block = tree_.block(key)) {
      Block with_page = *block;
      with_page.page = prefix.pages[i];
      tree_.add(key, with_page);
    }
  }
  if (prefix.moment) {
    Moment moment = stop.moment;
    moment.state = prefix.moment;
    tree_.add(stop.after, std::move(moment));
  } else {
    prefix.rebuild_tokens = RebuildPlan(*shape_, static_cast<int>(prefix.pages.size())).tokens();
  }
  tree_.touch(path, stop);
  shrink_if_needed();
}

std::optional<PrefixTree::Stop> PrefixCache::Parts::best_stop(const PrefixTree::Path& path,
                                                              int longer_than, int whole) const {
  const auto kept = std::ranges::find_if(
      path.stops, [&](const PrefixTree::Stop& stop) { return stop.moment.tokens <= whole; });
  const int moment = kept == path.stops.end() ? longer_than : kept->moment.tokens;
  const int pages = std::min(whole / kPageTokens, static_cast<int>(path.steps.size()));
  if (RebuildPlan(*shape_, pages).worth_a_moment_at() > moment) {
    return PrefixTree::Stop{.after = path.steps[static_cast<std::size_t>(pages) - 1].key,
                            .moment = {.tokens = pages * kPageTokens}};
  }
  return kept == path.stops.end() ? std::nullopt : std::optional(*kept);
}

int PrefixCache::Parts::reachable(std::span<const Token> prompt, int longer_than, KnownWay own) {
  const std::lock_guard lock(mutex_);
  const auto stop =
      best_stop(walk(prompt, longer_than, own), longer_than, static_cast<int>(prompt.size()) - 1);
  if (!stop) return 0;
  if (is_kept(stop->moment)) return stop->moment.tokens;
  return RebuildPlan(*shape_, stop->moment.tokens / kPageTokens).worth_a_moment_at();
}

PrefixCache::Parts::Loaded PrefixCache::Parts::load(const PrefixTree::Path& path,
                                                    const PrefixTree::Stop& stop, Prefix& prefix,
                                                    int& whole) {
  std::set<int> segments;
  const auto drop = [this](bool gone, auto&& forget) {
    const std::lock_guard lock(mutex_);
    forget(tree_);
    forget_ways();
    left_out_ = true;
    dropped_ += gone ? 0 : 1;
    return gone ? Loaded::gone : Loaded::damaged;
  };
  if (!prefix.moment && is_kept(stop.moment)) {
    prefix.moment = read_moment(stop.moment.file);
    const bool fits = prefix.moment && prefix.moment->tokens == stop.moment.tokens &&
                      std::ssize(prefix.moment->bytes) == shape_->state_bytes(stop.moment.tokens);
    if (!fits) {
      std::error_code failed;
      return drop(!std::filesystem::exists(stop.moment.file, failed),
                  [&](PrefixTree& tree) { tree.lose_moment(stop.after, stop.moment.file); });
    }
  }
  const auto blocks = static_cast<std::size_t>(stop.moment.tokens / kPageTokens);
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < blocks; ++i) {
    prefix.pages.push_back(path.steps[i].page);
    if (path.steps[i].page) continue;
    missing.push_back(i);
    segments.insert(path.steps[i].place.segment);
  }
  const std::vector<Page> read = read_pages(path, missing);
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (!read[i]) {
      whole = static_cast<int>(missing[i]) * kPageTokens + kPageTokens - 1;
      return drop(/*gone=*/false,
                  [&](PrefixTree& tree) { tree.lose_page(path.steps[missing[i]].key); });
    }
    prefix.pages[missing[i]] = read[i];
  }
  prefix.disk_tokens = static_cast<int>(missing.size()) * kPageTokens;
  if (store_) store_->touch(segments, stop.moment.file);
  return Loaded::yes;
}

// The missing steps' pages, all of them checked; null from the first damaged one on.
std::vector<Page> PrefixCache::Parts::read_pages(const PrefixTree::Path& path,
                                                 const std::vector<std::size_t>& missing) const {
  std::vector<Page> pages(missing.size());
  const auto bytes = static_cast<std::int64_t>(missing.size()) * page_bytes_;
  const bool map = bytes >= options_.map_from_bytes;
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> damaged = false;
  const auto read_some = [&] {
    const auto size = static_cast<std::size_t>(page_bytes_);
    std::shared_ptr<std::byte[]> page;
    for (std::size_t i = next++; i < missing.size() && !damaged; i = next++) {
      const PrefixTree::Step& step = path.steps[missing[i]];
      // What is mapped is checked through one buffer: an I/O error is then no signal.
      if (!page) page = std::make_shared_for_overwrite<std::byte[]>(size);
      if (!store_->read(step.place, step.key, {page.get(), size})) {
        damaged = true;
        return;
      }
      if (map) pages[i] = store_->map(step.place);
      if (!pages[i]) pages[i] = std::move(page);
    }
  };
  // Without memory a page is as good as damaged.
  const auto read = [&]() noexcept {
    try {
      read_some();
    } catch (const std::bad_alloc&) {
      damaged = true;
    }
  };
  // A thread takes longer to begin than this takes to read.
  constexpr std::int64_t kBytesPerThread = std::int64_t{8} << 20;
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  std::vector<std::jthread> others;
  for (std::int64_t i = 1; i < std::min({bytes / kBytesPerThread, cores, std::int64_t{8}}); ++i) {
    others.emplace_back(read);
  }
  read();
  others.clear();
  return pages;
}

bool PrefixCache::Parts::add_block(BlockKey key, const Block& block) {
  const std::lock_guard lock(mutex_);
  if (!tree_.add(key, block)) return false;
  queue_block(key, *tree_.block(key));
  shrink_if_needed();
  return true;
}

void PrefixCache::Parts::add_moment(BlockKey after, Moment moment) {
  const std::lock_guard lock(mutex_);
  if (left_out_ && writes_) queue_way(after);
  tree_.add(after, moment);
  queue_moment(after, moment);
  shrink_if_needed();
}

void PrefixCache::Parts::shrink_if_needed() {
  if (tree_.bytes() <= next_shrink_) return;
  if (tree_.idle_bytes() > options_.memory_bytes) {
    tree_.shrink(options_.memory_bytes - options_.memory_bytes / 8);
  }
  // Looking costs a walk over all blocks, so the next one waits for some growth.
  next_shrink_ = std::max(options_.memory_bytes, tree_.bytes() + options_.memory_bytes / 16);
}
CacheUse PrefixCache::Parts::use() const {
  const std::lock_guard lock(mutex_);
  const PrefixTree::Counts counts = tree_.counts();
  return {.memory_blocks = counts.blocks,
          .memory_moments = counts.moments,
          .memory_bytes = tree_.bytes(),
          .disk_blocks = counts.stored_blocks,
          .disk_moments = counts.stored_moments,
          .disk_bytes = store_ ? store_->bytes() : 0,
          .dropped = dropped_};
}

}  // namespace fathom::engine
