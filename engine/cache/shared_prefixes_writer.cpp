// Writes behind the sessions' backs what they leave, and keeps the folder within its limit.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <exception>
#include <filesystem>
#include <set>
#include <utility>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/cache/lost_rows.h"
#include "engine/cache/shared_prefixes.h"

namespace fathom::engine {
namespace {

// References to pages that sessions hold anyway: as long as the disk keeps up, this is no memory.
constexpr std::int64_t kQueueBytesMax = std::int64_t{1} << 30;

// Bytes written between two looks at how much the folder takes; less where it may take little.
constexpr std::int64_t kMeasureEvery = std::int64_t{16} << 20;
constexpr std::int64_t kMeasuresPerLimit = 16;

// The writer rests so many times as long as its last tasks took of a core, unless somebody waits
// for it, a moment does, or half of the queue is full: an engine's thread that it displaces holds
// up all the others. Of a core that writes 1 GB/s it leaves 8 MB/s; 344 tokens/s of V4-Flash
// are 1.2 MB/s.
constexpr double kRestPerWork = 120;
// And only after it has worked for so long, if there is so much to do: every time that it wakes
// costs them more than the work itself.
constexpr double kWorkSeconds = 0.001;

// What a timeline's ends may take on disk beside the newest: 64 steps of a small model, none of
// V4-Flash, where one takes 15 MB and 200 of them would outweigh the rows.
constexpr std::int64_t kOlderEndsBytes = std::int64_t{12} << 20;

// Empty, and held by nobody, if it is gone.
Descriptor held_file(const std::filesystem::path& file) {
  Descriptor held(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (held) mark_used(held.get(), /*used=*/true);
  return held;
}

// That this thread has had of a core.
double thread_seconds() noexcept {
  struct timespec time = {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::int64_t state_bytes(const Moment& moment) {
  return moment.state ? std::ssize(moment.state->bytes) : 0;
}

}  // namespace

void PrefixCache::Parts::queue_block(BlockKey key, const Block& block) {
  if (!writes_ || block.queued || block.place.segment >= 0 || !block.page) return;
  if (queued_bytes_ + page_bytes_ > kQueueBytesMax) {
    left_out_ = true;
    return;
  }
  queued_bytes_ += page_bytes_;
  tree_.set_queued(key, true);
  queue_.push_back(BlockTask{.key = key, .block = block});
  changed_.notify_all();
}

// What the queue had no room for, or was lost, comes before the moment that needs it.
void PrefixCache::Parts::queue_way(BlockKey end) {
  std::vector<BlockKey> missing;
  for (BlockKey key = end; const Block* block = tree_.block(key); key = block->parent) {
    if (block->place.segment < 0 && block->page) missing.push_back(key);
  }
  for (const BlockKey key : missing) queue_block(key, *tree_.block(key));
}

// As many of a timeline's ends wait as may lie on disk beside the newest: others may begin with
// one.
void PrefixCache::Parts::queue_moment(BlockKey after, const Moment& moment) {
  const auto is_end = [](const Moment& one) { return one.tokens % kMomentEvery != 0; };
  if (!writes_ || (is_end(moment) && !moment.origin.named)) return;
  std::int64_t waiting = 0;
  for (auto task = queue_.rbegin(); is_end(moment) && task != queue_.rend(); ++task) {
    const auto* other = std::get_if<MomentTask>(&*task);
    if (other == nullptr || !is_end(other->moment) ||
        other->moment.origin.owner != moment.origin.owner) {
      continue;
    }
    waiting += state_bytes(other->moment);
    if (waiting <= kOlderEndsBytes) continue;
    queued_bytes_ -= state_bytes(other->moment);
    queue_.erase(std::prev(task.base()));
    break;
  }
  queued_bytes_ += state_bytes(moment);
  queue_.push_back(MomentTask{.after = after, .moment = moment});
  changed_.notify_all();
}

void PrefixCache::Parts::write_tasks(const std::stop_token& stop) {
  // The engine's threads come first.
  constexpr int kNice = 19;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  const auto hurries = [this] {
    return flushing_ > 0 || queued_bytes_ > kQueueBytesMax / 2 ||
           std::ranges::any_of(
               queue_, [](const Task& task) { return std::holds_alternative<MomentTask>(task); });
  };
  double worked = 0;  // since the last rest
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return !queue_.empty() || hold_due_; })) {
    if (hold_due_) hold_files();
    if (queue_.empty()) {
      changed_.notify_all();
      continue;
    }
    const Task task = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= bytes_of(task);
    writing_ = true;
    lock.unlock();
    const double began = thread_seconds();
    perform(task);
    worked += thread_seconds() - began;
    lock.lock();
    writing_ = false;
    if (queue_.empty()) changed_.notify_all();
    if (worked < kWorkSeconds && !queue_.empty()) continue;
    const std::chrono::duration<double> rest(kRestPerWork * std::exchange(worked, 0));
    changed_.wait_for(lock, stop, rest, hurries);
  }
}

std::int64_t PrefixCache::Parts::bytes_of(const Task& task) const noexcept {
  const auto* moment = std::get_if<MomentTask>(&task);
  return moment != nullptr ? state_bytes(moment->moment) : page_bytes_;
}

void PrefixCache::Parts::perform(const Task& task) noexcept {
  try {
    std::visit([this](const auto& one) { write(one); }, task);
  } catch (const std::exception& failed) {
    give_up_writing(failed.what());
  }
}

void PrefixCache::Parts::write(const BlockTask& task) {
  {
    const std::lock_guard lock(mutex_);
    tree_.set_queued(task.key, false);
    const Block* block = tree_.block(task.key);
    if (block != nullptr && block->place.segment >= 0) return;  // another process wrote it
  }
  const RecordHead head{.number = static_cast<std::uint32_t>(task.block.number),
                        .key = task.key,
                        .parent = task.block.parent,
                        .ids = task.block.ids};
  Block stored = task.block;
  stored.page = nullptr;
  stored.queued = false;
  try {
    stored.place =
        store_->append(head, {task.block.page.get(), static_cast<std::size_t>(page_bytes_)});
  } catch (const LostRows&) {
    return;  // nothing is wrong with the disk that is written to; see_news() forgets the page
  }
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

std::set<int> PrefixCache::Parts::segments_in_use() {
  std::set<int> segments;
  for (auto& [timeline, standing] : live_) {
    see_way(standing);
    segments.insert(standing.segments.begin(), standing.segments.end());
  }
  return segments;
}

// Back to where it was seen before, or else to the root: half a million tokens are 4,096 blocks.
void PrefixCache::Parts::see_way(Standing& standing) const {
  struct Seen {
    BlockKey key;
    int segment;
  };
  std::vector<Seen> way;  // backwards
  BlockKey key = standing.end;
  for (const Block* block = tree_.block(key); block != nullptr && key != standing.seen;
       block = tree_.block(key)) {
    way.push_back({.key = key, .segment = block->place.segment});
    key = block->parent;
  }
  if (key != standing.seen) standing = {.owner = standing.owner, .end = standing.end, .seen = key};
  bool stored = true;
  for (auto at = way.rbegin(); at != way.rend(); ++at) {
    stored = stored && at->segment >= 0;
    if (stored) standing.seen = at->key;
    if (at->segment >= 0) standing.segments.insert(at->segment);
  }
}

void PrefixCache::Parts::forget_ways() noexcept {
  for (auto& [timeline, standing] : live_) {
    standing.seen = root_;
    standing.segments.clear();
  }
}

void PrefixCache::Parts::stands_at(std::uint64_t timeline, std::uint64_t owner, BlockKey key) {
  const std::lock_guard lock(mutex_);
  const auto [standing, begins] = live_.try_emplace(
      timeline, Standing{.owner = owner, .end = key, .seen = root_, .segments = {}});
  standing->second.end = key;
  const Block* block = tree_.block(key);
  // Whoever goes on writes to a segment that is locked anyway; what was there needs a lock now.
  const bool stored = block != nullptr && block->place.segment >= 0;
  if (!writes_ || (!begins && !stored)) return;
  hold_due_ = true;
  changed_.notify_all();
}

// On files that are held already, or will be for the parent's sake.
void PrefixCache::Parts::stands_beside(std::uint64_t timeline, std::uint64_t owner,
                                       std::uint64_t parent) {
  const std::lock_guard lock(mutex_);
  const auto beside = live_.find(parent);
  if (beside == live_.end()) return;
  Standing standing = beside->second;
  standing.owner = owner;
  live_.emplace(timeline, std::move(standing));
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
  // Sessions do not wait until the file system has given back megabytes.
  std::vector<Outdated> outdated;
  {
    const std::lock_guard lock(mutex_);
    tree_.add(task.after, stored);
    if (stored.tokens % kMomentEvery == 0) {
      thin_multiples(task, outdated);
    } else {
      add_end(task.after, stored, state_bytes(task.moment), outdated);
    }
    hold_files();  // also counts them as used now, once a turn
  }
  for (const Outdated& one : outdated) store_->remove(one.file);
  outdated.clear();
  keep_within(state_bytes(task.moment));
}

// Of a timeline the newest end stays, and what fits of those before it.
void PrefixCache::Parts::add_end(BlockKey after, const Moment& stored, std::int64_t bytes,
                                 std::vector<Outdated>& outdated) {
  std::deque<End>& ends = ends_[stored.origin.owner];
  std::erase_if(ends, [&](const End& end) { return end.moment.file == stored.file; });
  std::int64_t older = 0;
  for (const End& end : ends) older += end.bytes;
  ends.push_back(End{.after = after, .moment = stored, .bytes = bytes});
  while (std::ssize(ends) > kStepsKept || (older > kOlderEndsBytes && ends.size() > 1)) {
    End& oldest = ends.front();
    older -= oldest.bytes;
    tree_.lose_moment(oldest.after, oldest.moment.file);
    outdated.push_back({.file = oldest.moment.file, .held = std::move(oldest.held)});
    ends.pop_front();
  }
}

// A multiple of 4,096 replaces the one before it unless that is one of 8,192.
void PrefixCache::Parts::thin_multiples(const MomentTask& task, std::vector<Outdated>& outdated) {
  const int before = task.moment.tokens - kMomentEvery;
  if (before == 0 || before % (2 * kMomentEvery) == 0) return;
  BlockKey key = task.after;
  for (int i = 0; i < kMomentEvery / kPageTokens; ++i) {
    const Block* block = tree_.block(key);
    if (block == nullptr) return;
    key = block->parent;
  }
  for (const Moment& moment : tree_.moments(key)) {
    if (moment.tokens != before || moment.file.empty()) continue;
    tree_.lose_moment(key, moment.file);
    outdated.push_back({.file = moment.file});
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

void PrefixCache::Parts::flush() {
  std::unique_lock lock(mutex_);
  ++flushing_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return queue_.empty() && !writing_ && !hold_due_; });
  --flushing_;
}

}  // namespace fathom::engine
