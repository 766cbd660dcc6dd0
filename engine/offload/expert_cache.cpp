// Frames, the two queues of their pieces, and the threads that read them.
#include "engine/offload/expert_cache.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <limits>

#include "engine/error.h"

namespace fathom::engine {
namespace {

using Clock = std::chrono::steady_clock;

// Large enough for a disk to reach its speed, small enough that what a layer waits for need not
// stand long behind what was only guessed: 2 MiB take 5 ms at 0.4 GB/s.
constexpr std::int64_t kPieceBytes = 2 << 20;
static_assert(kPieceBytes % kReadAlignment == 0);

// Bytes of frames that are read at a time: what keeps a disk of 1.6 GB/s busy while a group of
// experts is computed. More would take frames from experts that are needed sooner.
constexpr std::int64_t kReadingBytes = 64 << 20;

// Experts of one group: between groups a pass can end and asks for further reads.
constexpr std::size_t kGroupMax = 8;

// About two tokens of V4-Flash. Asking takes some 50 microseconds.
constexpr int kVisitsPerFit = 64;

constexpr auto kAskEvery = std::chrono::milliseconds(50);

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

}  // namespace

ExpertCache::ExpertCache(std::vector<const BlockWeights*> blocks, WeightFiles mapped,
                         std::vector<std::unique_ptr<WeightFile>> files,
                         const ExpertCacheOptions& options)
    : options_(options),
      blocks_(std::move(blocks)),
      files_(std::move(files)),
      experts_per_layer_(static_cast<int>(blocks_.front()->experts.size())),
      table_(static_cast<int>(blocks_.size()), experts_per_layer_, options.frames,
             static_cast<double>(options.experts_per_token) / experts_per_layer_),
      frames_(size(options.frames)) {
  for (const BlockWeights* block : blocks_) {
    for (const ExpertWeights& expert : block->experts) {
      const std::array<const Tensor*, 3> matrices = {&expert.w1, &expert.w3, &expert.w2};
      experts_.push_back({expert, lay_out(matrices, mapped).value_or(Layout())});
      frame_bytes_ = std::max(frame_bytes_, experts_.back().layout.bytes);
    }
  }
  memory_ = PageMemory(frame_bytes_ * options.frames);
  wanted_.reserve(frames_.size());
  guessed_.reserve(frames_.size());
  given_back_.reserve(frames_.size());
  reading_max_ = static_cast<int>(std::clamp<std::int64_t>(
      kReadingBytes / std::max<std::int64_t>(frame_bytes_, 1), 2, std::max(2, options.frames / 4)));
  for (int i = 0; i < options.readers; ++i) readers_.emplace_back([this] { read_pieces(); });
}

ExpertCache::~ExpertCache() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_.notify_all();
  for (std::thread& reader : readers_) reader.join();
}

int ExpertCache::layer_of(const BlockWeights& block) const noexcept {
  const auto found = std::ranges::find(blocks_, &block);
  assert(found != blocks_.end());
  return static_cast<int>(found - blocks_.begin());
}

const BlockWeights* ExpertCache::block_after(const BlockWeights& block, int steps) const noexcept {
  const std::size_t layer = size(layer_of(block) + steps);
  return layer < size(options_.trunk_blocks) ? blocks_[layer] : nullptr;
}

const ExpertCache::Expert& ExpertCache::expert_at(int layer, int expert) const noexcept {
  return experts_[size(layer) * size(experts_per_layer_) + size(expert)];
}

int ExpertCache::frames() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(frames_.size() - given_back_.size());
}

ExpertReads ExpertCache::reads() const {
  const std::lock_guard lock(mutex_);
  return reads_;
}

// Begins to read an expert into a frame whose own expert is needed later than after `wait`.
bool ExpertCache::start(int layer, int expert, double wait, bool guessed) {
  int& reading = guessed ? reading_guessed_ : reading_wanted_;
  if (reading >= reading_max_) return false;
  const int chosen = table_.choose(wait);
  if (chosen < 0) return false;
  const Expert& source = expert_at(layer, expert);
  Frame& frame = at(chosen);
  const std::byte* memory = memory_.bytes().data() + chosen * frame_bytes_;
  frame = {.state = State::reading, .layer = layer, .expert = expert, .guessed = guessed};
  const auto& places = source.layout.places;
  frame.weights = {.w1 = placed(source.stored.w1, places[0], memory),
                   .w3 = placed(source.stored.w3, places[1], memory),
                   .w2 = placed(source.stored.w2, places[2], memory)};
  table_.assign(chosen, layer, expert);
  table_.hold(chosen);  // until it is read
  ++reading;
  (guessed ? guessed_ : wanted_).push_back(chosen);
  work_.notify_all();
  return true;
}

// A visit waits for a frame that is being read.
void ExpertCache::want(int frame) {
  Frame& wanted = at(frame);
  wanted.dropped = false;
  if (!wanted.guessed) return;
  wanted.guessed = false;
  --reading_guessed_;
  ++reading_wanted_;
  std::erase(guessed_, frame);
  if (pieces_left(wanted)) wanted_.push_back(frame);
  work_.notify_all();
}

void ExpertCache::drop(int frame) {
  at(frame).dropped = true;
  std::erase(guessed_, frame);
  if (at(frame).running == 0) settle(frame);
}

// Guesses at a layer whose router did not want them.
void ExpertCache::drop_guesses(int layer, std::span<const int> counts) {
  for (int i = 0; i < std::ssize(frames_); ++i) {
    const Frame& frame = at(i);
    if (frame.state == State::reading && frame.guessed && frame.layer == layer &&
        counts[size(frame.expert)] == 0) {
      drop(i);
    }
  }
}

// Makes room for what is wanted now. Pieces that are being read cannot be taken back.
bool ExpertCache::drop_queued_guess() {
  const auto queued =
      std::ranges::find_if(guessed_, [this](int frame) { return at(frame).running == 0; });
  if (queued == guessed_.end()) return false;
  drop(*queued);
  return true;
}

bool ExpertCache::pieces_left(const Frame& frame) const noexcept {
  return !frame.dropped && frame.failure == 0 &&
         frame.extent < expert_at(frame.layer, frame.expert).layout.extents.size();
}

ExpertCache::Piece ExpertCache::take_piece(int index) noexcept {
  Frame& frame = at(index);
  const Extent& extent = expert_at(frame.layer, frame.expert).layout.extents[frame.extent];
  const std::int64_t bytes = std::min(kPieceBytes, extent.bytes - frame.done);
  const Piece piece = {.file = extent.file,
                       .offset = extent.offset + frame.done,
                       .to = memory_.part(index * frame_bytes_ + extent.place + frame.done, bytes)};
  frame.done += bytes;
  if (frame.done == extent.bytes) {
    ++frame.extent;
    frame.done = 0;
  }
  ++frame.running;
  return piece;
}

void ExpertCache::read_pieces() noexcept {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return ending_ || !wanted_.empty() || !guessed_.empty(); });
    if (ending_) return;
    std::vector<int>& queue = wanted_.empty() ? guessed_ : wanted_;
    const int index = queue.front();
    const Piece piece = take_piece(index);
    if (!pieces_left(at(index))) queue.erase(queue.begin());
    lock.unlock();
    const int failure = files_[size(piece.file)]->read(piece.to, piece.offset);
    lock.lock();
    Frame& frame = at(index);
    --frame.running;
    reads_.bytes += std::ssize(piece.to);
    if (failure != 0 && frame.failure == 0) {
      frame.failure = failure;
      frame.failed_file = piece.file;
      frame.failed_offset = piece.offset;
      std::erase(wanted_, index);
      std::erase(guessed_, index);
    }
    settle(index);
  }
}

// Ends the reading of a frame if no piece is left and none is being read.
void ExpertCache::settle(int index) noexcept {
  Frame& frame = at(index);
  if (frame.running > 0 || pieces_left(frame)) return;
  frame.state = frame.failure != 0 || frame.dropped ? State::failed : State::ready;
  --(frame.guessed ? reading_guessed_ : reading_wanted_);
  ++ends_;
  release(index);
  settled_.notify_all();
}

void ExpertCache::release(int index) noexcept {
  table_.release(index);
  if (table_.is_held(index) || at(index).state != State::failed) return;
  table_.clear(index);
  at(index) = {};
}

// Gives frames back while the system runs short of memory, and takes one again when it does not.
void ExpertCache::fit_to_memory() {
  if (!options_.left || visits_++ % kVisitsPerFit != 0) return;
  std::int64_t left = options_.left();
  const auto frames_least = size(std::max(1, options_.frames_least));
  while (left < options_.left_least && frames_.size() - given_back_.size() > frames_least) {
    const int frame = table_.choose(/*wait=*/-1);
    if (frame < 0) return;
    table_.clear(frame);
    table_.hold(frame);
    at(frame) = {};
    give_back(memory_.part(frame * frame_bytes_, frame_bytes_));
    given_back_.push_back(frame);
    left += frame_bytes_;
  }
  // Not at once, or a frame would go back and forth.
  if (!given_back_.empty() && left > 2 * options_.left_least + frame_bytes_) {
    table_.release(given_back_.back());
    given_back_.pop_back();
  }
}

void ExpertCache::expect(const BlockWeights& block, std::span<const int> experts, double chance) {
  const int layer = layer_of(block);
  const std::lock_guard lock(mutex_);
  for (const int expert : experts) {
    if (table_.find(layer, expert) >= 0 || expert_at(layer, expert).layout.bytes == 0) continue;
    if (!start(layer, expert, table_.wait_if(layer, chance), /*guessed=*/true)) return;
    ++reads_.guesses;
  }
}

ExpertCache::Visit ExpertCache::visit(const BlockWeights& block, std::span<const Route> routes,
                                      int rows, KeepWaiting keep_waiting) {
  std::vector<int> counts(size(experts_per_layer_));
  for (const Route& route : routes) ++counts[size(route.expert)];
  const int layer = layer_of(block);
  const std::lock_guard lock(mutex_);
  fit_to_memory();
  table_.turn(layer, counts, rows);
  drop_guesses(layer, counts);
  return Visit(*this, layer, counts, std::move(keep_waiting));
}

// With the cache's lock held.
ExpertCache::Visit::Visit(ExpertCache& cache, int layer, std::span<const int> counts,
                          KeepWaiting keep_waiting)
    : cache_(cache), layer_(layer), keep_waiting_(std::move(keep_waiting)) {
  // All memory before the first hold.
  for (std::vector<int>* list : {&missing_, &pending_}) list->reserve(counts.size());
  for (std::vector<Arrival>* list : {&ready_, &wave_}) list->reserve(counts.size());
  ExpertReads& reads = cache_.reads_;
  for (int expert = 0; expert < std::ssize(counts); ++expert) {
    if (counts[size(expert)] == 0) continue;
    ++reads.needed;
    const Expert& stored = cache_.expert_at(layer, expert);
    const int index = cache_.table_.find(layer, expert);
    if (stored.layout.bytes == 0) {
      ready_.push_back({expert, &stored.stored});
      ++reads.hits;
      continue;
    }
    if (index < 0) {
      missing_.push_back(expert);
      continue;
    }
    Frame& frame = cache_.at(index);
    if (frame.guessed) ++reads.guesses_right;
    cache_.table_.hold(index);
    if (frame.state == State::ready) {
      frame.guessed = false;
      ready_.push_back({expert, &frame.weights});
      ++reads.hits;
    } else {
      cache_.want(index);
      pending_.push_back(index);
    }
  }
  std::ranges::reverse(missing_);  // they are taken from the back, in the order of their files
  start_missing();
}

ExpertCache::Visit::~Visit() {
  const std::lock_guard lock(cache_.mutex_);
  release_wave();
  wave_ = std::move(ready_);
  release_wave();
  for (const int frame : pending_) cache_.release(frame);
}

void ExpertCache::Visit::release_wave() noexcept {
  for (const Arrival& arrival : wave_) {
    const int frame = cache_.table_.find(layer_, arrival.expert);
    if (frame >= 0) cache_.release(frame);
  }
  wave_.clear();
}

void ExpertCache::Visit::start_missing() {
  while (!missing_.empty()) {
    const int expert = missing_.back();
    if (!cache_.start(layer_, expert, /*wait=*/-1, /*guessed=*/false)) {
      if (cache_.reading_wanted_ > 0 || !cache_.drop_queued_guess()) return;
      continue;
    }
    missing_.pop_back();
    const int frame = cache_.table_.find(layer_, expert);
    cache_.table_.hold(frame);
    pending_.push_back(frame);
  }
}

// Moves what has been read since to what can be handed out. Throws Error if something could not.
void ExpertCache::Visit::collect() {
  for (std::size_t i = 0; i < pending_.size();) {
    const Frame& frame = cache_.at(pending_[i]);
    if (frame.state == State::reading) {
      ++i;
      continue;
    }
    if (frame.state == State::failed) {
      throw Error(
          cache_.files_[size(frame.failed_file)]->sentence(frame.failure, frame.failed_offset));
    }
    ready_.push_back({frame.expert, &frame.weights});
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

// Asks without the lock, because the asked may take its time.
bool ExpertCache::Visit::may_go_on(std::unique_lock<std::mutex>& lock) {
  if (!keep_waiting_) return true;
  lock.unlock();
  ended_ = !keep_waiting_();
  lock.lock();
  return !ended_;
}

// Until a frame is read or it is time to ask.
void ExpertCache::Visit::wait(std::unique_lock<std::mutex>& lock) {
  const auto start = Clock::now();
  const std::uint64_t before = cache_.ends_;
  cache_.settled_.wait_for(lock, kAskEvery, [&] { return cache_.ends_ != before; });
  cache_.reads_.waited_s += std::chrono::duration<double>(Clock::now() - start).count();
}

std::span<const ExpertSource::Arrival> ExpertCache::Visit::next() noexcept {
  if (failure_ || ended_) return {};
  try {
    std::unique_lock lock(cache_.mutex_);
    release_wave();
    while (may_go_on(lock)) {
      collect();
      start_missing();
      if (!ready_.empty()) {
        const auto count = static_cast<std::ptrdiff_t>(std::min(ready_.size(), kGroupMax));
        wave_.assign(ready_.begin(), ready_.begin() + count);
        ready_.erase(ready_.begin(), ready_.begin() + count);
        return wave_;
      }
      if (pending_.empty() && missing_.empty()) return {};
      wait(lock);
    }
  } catch (...) {
    failure_ = std::current_exception();
  }
  return {};
}

bool ExpertCache::Visit::finish() {
  if (failure_) std::rethrow_exception(failure_);
  return !ended_;
}

}  // namespace fathom::engine
