// PrefixCache::Parts: the tree, the store and the writer behind it. Safe to use from several
// threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <variant>
#include <vector>

#include "engine/cache/block_store.h"
#include "engine/cache/prefix_tree.h"
#include "engine/prefix_cache.h"

namespace fathom::engine {

// A beginning of a prompt whose state, or at least whose rows are there.
struct Prefix {
  int tokens = 0;
  int disk_tokens = 0;                          // of them, whose rows were read from disk now
  std::vector<Page> pages = {};                 // the full ones
  std::shared_ptr<const Snapshot> moment = {};  // null: windows must be computed again
  int rebuild_tokens = 0;                       // what that costs (rebuild_plan.h)
};

class PrefixCache::Parts {
 public:
  Parts(std::string_view fingerprint, std::shared_ptr<const CacheShape> shape,
        PrefixCacheOptions options);
  ~Parts();

  BlockKey root() const noexcept { return root_; }

  // The beginning that leaves the least to compute of the prompt, and less than a moment after
  // `longer_than` tokens does; never all of it, so that a token is left whose logits can be
  // computed.
  struct Found {
    std::optional<Prefix> prefix;
    int known = 0;               // tokens of the prompt that some timeline begins with
    std::vector<Token> instead;  // what that timeline has next, some tokens of it
    int damaged = 0;             // blocks and moments that turned out to be, and are dropped
  };
  // `own`: where whoever asks stands, at most after `longer_than` tokens of the prompt; then only
  // what lies behind is looked at, unless there is something.
  Found longest_prefix(std::span<const Token> prompt, int longer_than, KnownWay own = {});
  // Tokens after which a moment would leave as much to compute, if nothing is damaged; 0: nothing
  // is found.
  int reachable(std::span<const Token> prompt, int longer_than, KnownWay own = {});

  // Takes a full page. False if another block has its key: then nothing may follow it.
  bool add_block(BlockKey key, const Block& block);
  // Takes a moment after the block `after`, whose way is known.
  void add_moment(BlockKey after, Moment moment);

  // A live session stands at the end of this way of blocks, or is no longer there: what it stands
  // on, and its owner's newest end, are not evicted from disk.
  void stands_at(std::uint64_t timeline, std::uint64_t owner, BlockKey key);
  // A fork of `parent` stands where that does.
  void stands_beside(std::uint64_t timeline, std::uint64_t owner, std::uint64_t parent);
  void ends(std::uint64_t timeline) noexcept;

  CacheUse use() const;
  void flush();

 private:
  struct BlockTask {
    BlockKey key;
    Block block;
  };
  struct MomentTask {
    BlockKey after;
    Moment moment;
  };
  using Task = std::variant<BlockTask, MomentTask>;

  void see_news();  // with mutex_ held, as are the next
  PrefixTree::Path walk(std::span<const Token> prompt, int longer_than, KnownWay own);
  void queue_block(BlockKey key, const Block& block);
  void queue_way(BlockKey end);
  void queue_moment(BlockKey after, const Moment& moment);
  void shrink_if_needed();
  std::set<int> segments_in_use();

  // Where the first `whole` tokens of the prompt can be taken up best: at a moment, or at the end
  // of a block, where windows are computed again.
  std::optional<PrefixTree::Stop> best_stop(const PrefixTree::Path& path, int longer_than,
                                            int whole) const;
  void take(const PrefixTree::Path& path, const PrefixTree::Stop& stop, Prefix& prefix);
  // Reads what is not in memory. What is damaged, or gone, is forgotten and computed again later;
  // `whole` is then less: the tokens whose rows are not known to be damaged.
  enum class Loaded { yes, damaged, gone };
  Loaded load(const PrefixTree::Path& path, const PrefixTree::Stop& stop, Prefix& prefix,
              int& whole);
  std::vector<Page> read_pages(const PrefixTree::Path& path,
                               const std::vector<std::size_t>& missing) const;
  void write_tasks(const std::stop_token& stop);
  void perform(const Task& task) noexcept;
  std::int64_t bytes_of(const Task& task) const noexcept;
  void write(const BlockTask& task);
  void write(const MomentTask& task);
  // A moment's file that is forgotten and will be removed.
  struct Outdated {
    std::filesystem::path file;
    Descriptor held = Descriptor();
  };
  void thin_multiples(const MomentTask& task, std::vector<Outdated>& outdated);
  void add_end(BlockKey after, const Moment& stored, std::int64_t bytes,
               std::vector<Outdated>& outdated);
  void hold_files();
  void keep_within(std::int64_t written_bytes);
  void give_up_writing(const std::string& why) noexcept;

  // Constant after construction.
  const BlockKey root_;
  const std::shared_ptr<const CacheShape> shape_;
  const std::int64_t page_bytes_;
  const PrefixCacheOptions options_;
  std::optional<BlockStore> store_;  // the pointer to it; itself safe

  mutable std::mutex mutex_;  // guards what follows
  PrefixTree tree_;
  std::deque<Task> queue_;
  std::int64_t queued_bytes_ = 0;
  std::int64_t next_shrink_ = 0;  // bytes at which to look again
  struct End {
    BlockKey after;
    Moment moment;
    std::int64_t bytes = 0;
    Descriptor held = Descriptor();  // open as long as it must not be evicted
  };
  std::map<std::uint64_t, std::deque<End>> ends_;  // on disk, of named timelines, oldest first
  std::int64_t dropped_ = 0;
  std::uint64_t losses_seen_ = 0;  // of mapped pages
  struct Standing {
    std::uint64_t owner = 0;
    BlockKey end;
    BlockKey seen;                // the way up to here lies in these:
    std::set<int> segments = {};  // and in more, perhaps, behind it
  };
  std::map<std::uint64_t, Standing> live_;  // where sessions stand, by timeline
  void see_way(Standing& standing) const;
  void forget_ways() noexcept;  // places have changed
  bool hold_due_ = false;       // they stand on other files than those that are held
  bool left_out_ = false;       // there may be blocks that nobody writes: ends must look for them
  bool writes_ = false;         // the folder can be written
  bool told_ = false;
  bool writing_ = false;  // a task is at work
  int flushing_ = 0;      // who wait for the writer
  std::condition_variable_any changed_;

  // The writer's alone.
  std::int64_t written_bytes_ = 0;  // since the folder was last measured
  int written_segment_ = -1;
  std::jthread writer_;  // last: it uses all the others
};

}  // namespace fathom::engine
