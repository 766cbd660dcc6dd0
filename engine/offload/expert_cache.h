// Keeps as many routed experts in memory as it may, and reads the others from disk when they are
// asked for, or ahead of it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "engine/backend.h"
#include "engine/offload.h"
#include "engine/offload/frame_table.h"
#include "engine/offload/layout.h"
#include "engine/offload/page_memory.h"
#include "engine/offload/weight_file.h"

namespace fathom::engine {

struct ExpertCacheOptions {
  int frames = 0;        // experts in memory at a time
  int trunk_blocks = 0;  // the others, of MTP, do not follow in every pass
  int experts_per_token = 1;
  // Disks want several requests at a time: of the measured virtual disk 1 gave 1.0 GB/s, 2 gave
  // 1.5, 4 and 8 gave 1.6.
  int readers = 4;
  // Bytes that the system has left, asked now and then; while it is less than `left_least`, frames
  // are given back, down to `frames_least`. Empty: never.
  std::function<std::int64_t()> left = {};
  std::int64_t left_least = std::int64_t{64} << 20;  // sessions grow by less between two questions
  int frames_least = 1;
};

// Readers' threads fill frames; the thread of the pass visits one layer after the other. Passes
// take turns: visit() and expect() are called by one thread at a time.
class ExpertCache {
 public:
  // Asked every 50 ms while a pass waits for the disk, and between groups of experts; false ends
  // the visit. What it throws, finish() throws.
  using KeepWaiting = std::function<bool()>;

  // The experts of one layer while its mixture runs: hands out what is in memory first and reads
  // the others meanwhile. More experts than frames take turns in them.
  class Visit final : public ExpertSource {
   public:
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() override;

    std::span<const Arrival> next() noexcept override;

    // False if `keep_waiting` ended it. Throws Error if an expert could not be read.
    bool finish();

   private:
    friend class ExpertCache;
    Visit(ExpertCache& cache, int layer, std::span<const int> counts, KeepWaiting keep_waiting);
    void release_wave() noexcept;
    void start_missing();
    void collect();
    void wait(std::unique_lock<std::mutex>& lock);
    bool may_go_on(std::unique_lock<std::mutex>& lock);

    ExpertCache& cache_;
    int layer_;
    KeepWaiting keep_waiting_;
    std::vector<int> missing_;    // experts without a frame
    std::vector<int> pending_;    // frames that are being read
    std::vector<Arrival> ready_;  // in memory, not handed out
    std::vector<Arrival> wave_;   // handed out last
    std::exception_ptr failure_;
    bool ended_ = false;
  };

  // `blocks` are laid out as they lie in `mapped`; `files` are the same, to read from. Experts that
  // lie in none of them stay where they are. Blocks must outlive the cache; mapped files need not.
  // Throws std::bad_alloc.
  ExpertCache(std::vector<const BlockWeights*> blocks, WeightFiles mapped,
              std::vector<std::unique_ptr<WeightFile>> files, const ExpertCacheOptions& options);
  ~ExpertCache();
  ExpertCache(const ExpertCache&) = delete;
  ExpertCache& operator=(const ExpertCache&) = delete;

  // The experts that `routes` of `rows` tokens of a block want.
  Visit visit(const BlockWeights& block, std::span<const Route> routes, int rows,
              KeepWaiting keep_waiting);

  // A block will want these experts, most likely first, with a chance of `chance` each. They are
  // read when the disk has nothing else to do and may take the place only of what is likely to be
  // needed later. Guesses that turn out wrong are dropped when the block is visited.
  void expect(const BlockWeights& block, std::span<const int> experts, double chance);

  // The block `steps` after another one; null behind the trunk's last.
  const BlockWeights* block_after(const BlockWeights& block, int steps) const noexcept;

  int frames() const;  // without those given back
  std::int64_t frame_bytes() const noexcept { return frame_bytes_; }
  ExpertReads reads() const;

 private:
  struct Expert {
    ExpertWeights stored;
    Layout layout;  // of w1, w3, w2; no bytes: `stored` is in memory
  };

  enum class State { empty, reading, ready, failed };

  struct Frame {
    State state = State::empty;
    int layer = 0;
    int expert = 0;
    ExpertWeights weights = {};
    std::size_t extent = 0;  // where the next piece begins
    std::int64_t done = 0;   // bytes of it that were taken by readers
    int running = 0;         // pieces that are being read
    bool guessed = false;    // nobody has asked for it
    bool dropped = false;    // nobody will
    int failure = 0;         // of the first piece that failed, and where it lies
    int failed_file = 0;
    std::int64_t failed_offset = 0;
  };

  struct Piece {
    int file;
    std::int64_t offset;
    std::span<std::byte> to;
  };

  int layer_of(const BlockWeights& block) const noexcept;
  const Expert& expert_at(int layer, int expert) const noexcept;
  Frame& at(int frame) noexcept { return frames_[static_cast<std::size_t>(frame)]; }

  bool start(int layer, int expert, double wait, bool guessed);
  void want(int frame);
  void drop(int frame);
  void drop_guesses(int layer, std::span<const int> counts);
  bool drop_queued_guess();
  bool pieces_left(const Frame& frame) const noexcept;
  Piece take_piece(int frame) noexcept;
  void settle(int frame) noexcept;
  void release(int frame) noexcept;
  void read_pieces() noexcept;
  void fit_to_memory();

  // Constant after construction.
  ExpertCacheOptions options_;
  std::vector<const BlockWeights*> blocks_;
  std::vector<std::unique_ptr<WeightFile>> files_;
  std::vector<Expert> experts_;  // [blocks, experts]
  int experts_per_layer_ = 0;
  std::int64_t frame_bytes_ = 0;
  int reading_max_ = 0;  // frames that are read at a time, asked for and guessed each
  PageMemory memory_;    // [frames, frame_bytes]

  mutable std::mutex mutex_;
  std::condition_variable work_;     // there is a piece to read
  std::condition_variable settled_;  // a frame was read, or failed
  // Guarded by mutex_.
  FrameTable table_;
  std::vector<Frame> frames_;  // what is read is written without the lock by whoever took a piece
  std::vector<int> wanted_;    // frames with pieces left that a visit waits for
  std::vector<int> guessed_;   // and those that nobody asked for yet
  int reading_wanted_ = 0;
  int reading_guessed_ = 0;
  std::vector<int> given_back_;  // frames; held, so that nobody takes them
  int visits_ = 0;
  std::uint64_t ends_ = 0;  // frames read or failed so far
  ExpertReads reads_;
  bool ending_ = false;

  std::vector<std::thread> readers_;
};

}  // namespace fathom::engine
