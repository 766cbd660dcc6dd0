// Blocks and moments of all sessions, and which of them stay in memory.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/cache/chain.h"
#include "engine/cache/kv_cache.h"

namespace fathom::engine {

// Every so many tokens a session leaves a moment, so that any position is at most as many away.
inline constexpr int kMomentEvery = 4096;
static_assert(kMomentEvery % kPageTokens == 0);

// Moments of one timeline at steps that stay in memory: 64 to go back to, and where it stands.
inline constexpr int kStepsKept = 65;

// Where a block lies on disk.
struct Place {
  int segment = -1;  // -1: nowhere
  std::int64_t record = 0;
};

// Who leaves a moment, and why.
struct Origin {
  std::uint64_t owner = 0;  // a timeline
  bool named = false;       // outlives its session: its newest end is kept on disk
};

struct Moment {
  int tokens = 0;
  std::vector<Token> open = {};                // ids since the last full block
  std::shared_ptr<const Snapshot> state = {};  // null: on disk only
  std::filesystem::path file = {};             // empty: in memory only
  Origin origin = {};
  double worth = 0;
};

struct Block {
  BlockKey parent;
  int number = 0;  // blocks before it
  std::array<Token, kPageTokens> ids{};
  Page page = {};  // null: on disk only
  Place place = {};
  bool queued = false;  // waits to be written
  double worth = 0;
};

// The first blocks of a prompt, of which somebody knows where they lead.
struct KnownWay {
  BlockKey end;
  int blocks = 0;  // 0: none, the way begins at the root
};

// Not safe to use from several threads.
class PrefixTree {
 public:
  PrefixTree(BlockKey root, std::int64_t page_bytes) : root_(root), page_bytes_(page_bytes) {}

  // The longest way along known blocks, in the order of the prompt, and the moments on it that lie
  // in (longer_than, limit], the latest first.
  struct Step {
    BlockKey key;
    Page page;
    Place place;
  };
  struct Stop {
    BlockKey after;
    Moment moment;
  };
  struct Path {
    std::vector<Step> steps;
    std::vector<Stop> stops;
    int known = 0;               // tokens of the prompt that a timeline begins with
    std::vector<Token> instead;  // what it has next; empty: nothing
  };
  // `begun`: from where on to walk; the path's steps begin there.
  Path walk(std::span<const Token> prompt, int longer_than, int limit, KnownWay begun = {}) const;

  // Adds a block, or its page or place where the block is known. False if another block has its
  // key: then nothing may follow it.
  bool add(BlockKey key, const Block& block);
  void add(BlockKey after, Moment moment);

  const Block* block(BlockKey key) const noexcept;  // null: unknown
  void set_queued(BlockKey key, bool queued) noexcept;
  void lose_page(BlockKey key) noexcept;  // its place turned out to be damaged
  void lose_segment(int segment);         // all of its places
  // Pages in memory that can no longer be read; their places may still be good.
  void lose_pages(bool (*lost)(const std::byte* page) noexcept);
  void lose_moment(BlockKey after, const std::filesystem::path& file) noexcept;
  std::vector<Moment> moments(BlockKey after) const;
  // Counts the blocks of a way as used now.
  void touch(const Path& path, const Stop& stop);

  // Forgets what is worth least until what no session uses takes at most `bytes`.
  void shrink(std::int64_t bytes);

  std::int64_t bytes() const noexcept { return bytes_; }  // of pages and states
  std::int64_t idle_bytes() const;                        // of them, what no session uses
  struct Counts {
    std::int64_t blocks = 0, moments = 0, stored_blocks = 0, stored_moments = 0;
  };
  Counts counts() const;

 private:
  struct Node {
    bool known = false;  // else only its children are
    Block block;
    std::vector<BlockKey> children;
    std::vector<Moment> moments;
  };
  struct StepReference {
    BlockKey after;
    int tokens;
  };
  using Nodes = std::unordered_map<BlockKey, Node, BlockKeyHash>;

  double worth_of(const Block& block) const noexcept;
  double worth_of(const Moment& moment, BlockKey after) const;
  void see_how_it_differs(const Node& node, std::span<const Token> rest, int before,
                          Path& path) const;
  void forget_state(Node& node, std::size_t moment);
  void keep_latest_steps(BlockKey after, const Moment& moment);
  bool leaf(const Node& node) const;
  void forget_page(Nodes::iterator at);

  BlockKey root_;
  std::int64_t page_bytes_;
  Nodes nodes_;
  std::map<std::uint64_t, std::deque<StepReference>> steps_;  // of each owner, oldest first
  std::int64_t bytes_ = 0;
  double clock_ = 0;  // worth of the last that was forgotten
};

}  // namespace fathom::engine
