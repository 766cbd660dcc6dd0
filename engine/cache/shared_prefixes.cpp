// Finds prefixes, takes what sessions compute, and writes it behind their backs.
#include "engine/cache/shared_prefixes.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <new>
#include <set>
#include <unordered_set>
#include <utility>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

namespace fathom::engine {
namespace {

// References to pages that sessions hold anyway: as long as the disk keeps up, this is no memory.
constexpr std::int64_t kQueueBytesMax = std::int64_t{1} << 30;

// Bytes written between two looks at how much the folder takes; less where it may take little.
constexpr std::int64_t kMeasureEvery = std::int64_t{16} << 20;
constexpr std::int64_t kMeasuresPerLimit = 16;

// Of the folder's limit, so that eviction has a choice.
constexpr std::int64_t kSegmentsPerLimit = 8;

// What a timeline's ends may take on disk beside the newest: 64 steps of a small model, none of
// V4-Flash, where one takes 15 MB and 200 of them would outweigh the rows.
constexpr std::int64_t kOlderEndsBytes = std::int64_t{12} << 20;

SegmentKind kind_for(BlockKey root, std::string_view fingerprint, const CacheShape& shape) {
  return {.root = root, .page_bytes = shape.page_bytes, .fingerprint = std::string(fingerprint)};
}

// Empty, and held by nobody, if it is gone.
Descriptor held_file(const std::filesystem::path& file) {
  Descriptor held(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (held) mark_used(held.get(), /*used=*/true);
  return held;
}

std::int64_t state_bytes(const Moment& moment) {
  return moment.state ? std::ssize(moment.state->bytes) : 0;
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
  const BlockStore::News news = store_->look();
  for (const int segment : news.gone) tree_.lose_segment(segment);
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

PrefixCache::Parts::Found PrefixCache::Parts::longest_prefix(std::span<const Token> prompt,
                                                             int longer_than) {
  std::unique_lock lock(mutex_);
  see_news();
  const auto limit = static_cast<int>(prompt.size()) - 1;
  const PrefixTree::Path path = tree_.walk(prompt, longer_than, limit);
  Found found{.prefix = std::nullopt, .known = path.known, .instead = path.instead};
  int whole = limit;
  for (const PrefixTree::Stop& stop : path.stops) {
    if (stop.moment.tokens > whole) continue;
    Prefix prefix{.tokens = stop.moment.tokens, .moment = stop.moment.state};
    lock.unlock();
    const Loaded loaded = load(path, stop, prefix, whole);
    lock.lock();
    if (loaded == Loaded::damaged) ++found.damaged;
    if (loaded != Loaded::yes) continue;
    for (std::size_t i = 0; i < prefix.pages.size(); ++i) {
      const BlockKey key = path.steps[i].key;
      if (const Block* block = tree_.block(key)) {
        Block with_page = *block;
        with_page.page = prefix.pages[i];
        tree_.add(key, with_page);
      }
    }
    Moment moment = stop.moment;
    moment.state = prefix.moment;
    tree_.add(stop.after, std::move(moment));
    tree_.touch(path, stop);
    shrink_if_needed();
    found.prefix = std::move(prefix);
    break;
  }
  return found;
}

int PrefixCache::Parts::reachable(std::span<const Token> prompt) {
  const std::lock_guard lock(mutex_);
  see_news();
  const PrefixTree::Path path = tree_.walk(prompt, 0, static_cast<int>(prompt.size()) - 1);
  return path.stops.empty() ? 0 : path.stops.front().moment.tokens;
}

PrefixCache::Parts::Loaded PrefixCache::Parts::load(const PrefixTree::Path& path,
                                                    const PrefixTree::Stop& stop, Prefix& prefix,
                                                    int& whole) {
  std::set<int> segments;
  const auto drop = [this](bool gone, auto&& forget) {
    const std::lock_guard lock(mutex_);
    forget(tree_);
    dropped_ += gone ? 0 : 1;
    return gone ? Loaded::gone : Loaded::damaged;
  };
  if (!prefix.moment) {
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
      if (!map || !page) page = std::make_shared_for_overwrite<std::byte[]>(size);
      if (!store_->read(step.place, step.key, {page.get(), size})) {
        damaged = true;
        return;
      }
      pages[i] = map ? store_->map(step.place) : page;
      if (!pages[i]) damaged = true;
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
  // What the queue had no room for, or was lost, comes before the moment that needs it.
  std::vector<BlockKey> missing;
  for (BlockKey key = after; const Block* block = tree_.block(key); key = block->parent) {
    if (writes_ && block->place.segment < 0 && block->page) missing.push_back(key);
  }
  for (const BlockKey key : missing) queue_block(key, *tree_.block(key));
  tree_.add(after, moment);
  queue_moment(after, moment);
  shrink_if_needed();
}

void PrefixCache::Parts::queue_block(BlockKey key, const Block& block) {
  if (!writes_ || block.place.segment >= 0 || !block.page) return;
  if (queued_bytes_ + page_bytes_ > kQueueBytesMax) return;
  queued_bytes_ += page_bytes_;
  queue_.push_back(BlockTask{.key = key, .block = block});
  changed_.notify_all();
}

// On disk a timeline needs its newest end alone; one that still waits is replaced.
void PrefixCache::Parts::queue_moment(BlockKey after, const Moment& moment) {
  const bool end = moment.tokens % kMomentEvery != 0;
  if (!writes_ || (end && !moment.origin.named)) return;
  if (end) {
    const auto waits = std::ranges::find_if(queue_, [&](const Task& task) {
      const auto* other = std::get_if<MomentTask>(&task);
      return other != nullptr && other->moment.tokens % kMomentEvery != 0 &&
             other->moment.origin.owner == moment.origin.owner;
    });
    if (waits != queue_.end()) {
      queued_bytes_ -= state_bytes(std::get<MomentTask>(*waits).moment);
      queue_.erase(waits);
    }
  }
  queued_bytes_ += state_bytes(moment);
  queue_.push_back(MomentTask{.after = after, .moment = moment});
  changed_.notify_all();
}

void PrefixCache::Parts::shrink_if_needed() {
  if (tree_.bytes() <= next_shrink_) return;
  if (tree_.idle_bytes() > options_.memory_bytes) {
    tree_.shrink(options_.memory_bytes - options_.memory_bytes / 8);
  }
  // Looking costs a walk over all blocks, so the next one waits for some growth.
  next_shrink_ = std::max(options_.memory_bytes, tree_.bytes() + options_.memory_bytes / 16);
}

void PrefixCache::Parts::write_tasks(const std::stop_token& stop) {
  // The engine's threads come first.
  constexpr int kNice = 19;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return !queue_.empty() || hold_due_; })) {
    if (hold_due_) hold_files();
    if (queue_.empty()) {
      changed_.notify_all();
      continue;
    }
    const Task task = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    lock.unlock();
    try {
      std::visit([this](const auto& one) { write(one); }, task);
    } catch (const std::exception& failed) {
      give_up_writing(failed.what());
    }
    lock.lock();
    writing_ = false;
    if (std::holds_alternative<BlockTask>(task)) {
      queued_bytes_ -= page_bytes_;
    } else {
      queued_bytes_ -= state_bytes(std::get<MomentTask>(task).moment);
    }
    if (queue_.empty()) changed_.notify_all();
  }
}

void PrefixCache::Parts::write(const BlockTask& task) {
  {
    const std::lock_guard lock(mutex_);
    const Block* block = tree_.block(task.key);
    if (block != nullptr && block->place.segment >= 0) return;  // offered twice
  }
  const RecordHead head{.number = static_cast<std::uint32_t>(task.block.number),
                        .key = task.key,
                        .parent = task.block.parent,
                        .ids = task.block.ids};
  Block stored = task.block;
  stored.page = nullptr;
  stored.place =
      store_->append(head, {task.block.page.get(), static_cast<std::size_t>(page_bytes_)});
  {
    const std::lock_guard lock(mutex_);
    tree_.add(task.key, stored);
    // The one before is full, and no longer locked by appending to it.
    if (std::exchange(written_segment_, stored.place.segment) != stored.place.segment) {
      hold_files();
    }
  }
  keep_within(page_bytes_);
}

void PrefixCache::Parts::keep_within(std::int64_t written_bytes) {
  written_bytes_ += written_bytes;
  if (written_bytes_ < std::min(kMeasureEvery, options_.disk_bytes / kMeasuresPerLimit)) return;
  written_bytes_ = 0;
  {
    const std::lock_guard lock(mutex_);
    hold_files();
  }
  store_->shrink(options_.disk_bytes);
  const std::lock_guard lock(mutex_);
  see_news();
}

void PrefixCache::Parts::hold_files() {
  hold_due_ = false;
  store_->hold(segments_in_use());
  std::set<std::uint64_t> owners;
  for (const auto& [timeline, standing] : live_) owners.insert(standing.owner);
  for (auto& [owner, ends] : ends_) {
    for (End& end : ends) {
      const bool held = &end == &ends.back() && owners.contains(owner);
      if (held != static_cast<bool>(end.held))
        end.held = held ? held_file(end.moment.file) : Descriptor();
    }
  }
}

std::set<int> PrefixCache::Parts::segments_in_use() const {
  std::set<int> segments;
  std::unordered_set<BlockKey, BlockKeyHash> seen;
  for (const auto& [timeline, standing] : live_) {
    BlockKey key = standing.end;
    for (const Block* block = tree_.block(key); block != nullptr && seen.insert(key).second;
         block = tree_.block(key)) {
      if (block->place.segment >= 0) segments.insert(block->place.segment);
      key = block->parent;
    }
  }
  return segments;
}

void PrefixCache::Parts::stands_at(std::uint64_t timeline, std::uint64_t owner, BlockKey key) {
  const std::lock_guard lock(mutex_);
  const bool begins = live_.insert_or_assign(timeline, Standing{.owner = owner, .end = key}).second;
  const Block* block = tree_.block(key);
  // Whoever goes on writes to a segment that is locked anyway; what was there needs a lock now.
  const bool stored = block != nullptr && block->place.segment >= 0;
  if (!writes_ || (!begins && !stored)) return;
  hold_due_ = true;
  changed_.notify_all();
}

void PrefixCache::Parts::ends(std::uint64_t timeline) noexcept {
  const std::lock_guard lock(mutex_);
  if (live_.erase(timeline) == 0 || !writes_) return;
  hold_due_ = true;
  changed_.notify_all();
}

void PrefixCache::Parts::write(const MomentTask& task) {
  Moment stored = task.moment;
  stored.file = store_->append(task.after, task.moment);
  stored.state = nullptr;
  {
    const std::lock_guard lock(mutex_);
    tree_.add(task.after, stored);
    if (stored.tokens % kMomentEvery == 0) {
      thin_multiples(task);
    } else {
      add_end(task.after, stored, state_bytes(task.moment));
    }
    hold_files();  // also counts them as used now, once a turn
  }
  keep_within(state_bytes(task.moment));
}

void PrefixCache::Parts::remove_stored(BlockKey after, const std::filesystem::path& file) {
  store_->remove(file);
  tree_.lose_moment(after, file);
}

// Of a timeline the newest end stays, and what fits of those before it.
void PrefixCache::Parts::add_end(BlockKey after, const Moment& stored, std::int64_t bytes) {
  std::deque<End>& ends = ends_[stored.origin.owner];
  std::erase_if(ends, [&](const End& end) { return end.moment.file == stored.file; });
  std::int64_t older = 0;
  for (const End& end : ends) older += end.bytes;
  ends.push_back(End{.after = after, .moment = stored, .bytes = bytes});
  while (std::ssize(ends) > kStepsKept || (older > kOlderEndsBytes && ends.size() > 1)) {
    older -= ends.front().bytes;
    remove_stored(ends.front().after, ends.front().moment.file);
    ends.pop_front();
  }
}

// A multiple of 4,096 replaces the one before it unless that is one of 8,192.
void PrefixCache::Parts::thin_multiples(const MomentTask& task) {
  const int before = task.moment.tokens - kMomentEvery;
  if (before == 0 || before % (2 * kMomentEvery) == 0) return;
  BlockKey key = task.after;
  for (int i = 0; i < kMomentEvery / kPageTokens; ++i) {
    const Block* block = tree_.block(key);
    if (block == nullptr) return;
    key = block->parent;
  }
  for (const Moment& moment : tree_.moments(key)) {
    if (moment.tokens == before && !moment.file.empty()) remove_stored(key, moment.file);
  }
}

void PrefixCache::Parts::give_up_writing(const std::string& why) noexcept {
  bool tell = false;
  {
    const std::lock_guard lock(mutex_);
    writes_ = false;
    queue_.clear();
    queued_bytes_ = 0;
    tell = !std::exchange(told_, true);
    changed_.notify_all();
  }
  if (!tell || !options_.on_trouble) return;
  options_.on_trouble(fmt::format("the cache is not kept on disk: {}", why));
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

void PrefixCache::Parts::flush() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !writing_ && !hold_due_; });
}

}  // namespace fathom::engine
