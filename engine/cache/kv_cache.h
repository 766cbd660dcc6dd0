// KvCache: everything a session remembers of its tokens, in the byte layout of its rounding.
//
// Two parts. Pages hold what grows: the compressed rows and indexer keys that 128 tokens of all
// layers leave behind. A page is written once, from front to back, and is shared by reference when
// a session forks. The fixed part holds what does not grow: every layer's window ring and the
// compressors' unfinished windows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/cache/page_list.h"
#include "engine/cache/row_pages.h"
#include "engine/cache/rows.h"
#include "engine/config.h"

namespace fathom::engine {

// 128: the longest compression window. On its boundary no ratio-128 window is half-filled, so that
// a snapshot there is small, and no row belongs to two pages.
inline constexpr int kPageTokens = 128;

// Tokens of a pass of which some can be taken back: the fewest slots that a layer has, so that no
// two of them write to the same.
inline constexpr int kUndoMax = 8;

// Where one layer's things lie.
struct LayerShape {
  int ratio = 0;
  std::int64_t window = 0;       // in the fixed part
  std::int64_t slots = 0;        // in the fixed part: values, then gates
  std::int64_t index_slots = 0;  // the same of the indexer's compressor
  std::int64_t rows = 0;         // in a page
  std::int64_t keys = 0;         // in a page
};

// The layout of a model's caches. Constant after construction.
struct CacheShape {
  RowFormat row;
  RowFormat key;
  int window = 0;
  std::vector<LayerShape> layers;
  std::int64_t fixed_bytes = 0;
  std::int64_t page_bytes = 0;

  // One layer per entry of `ratios`. Throws Error if the rounding does not fit the widths.
  CacheShape(const ModelConfig& config, Rounding rounding, std::span<const int> ratios);

  std::int64_t state_bytes(int tokens) const noexcept;  // of a snapshot after so many tokens
};

// What later tokens need beside the full pages at one moment: the fixed part, then the rows of the
// page that is not full.
struct Snapshot {
  int tokens = 0;
  std::vector<std::byte> bytes;
};

// What the last tokens of a pass overwrite of the fixed part, kept so that they can be taken back.
// Holds a few KB a token and layer where a snapshot holds all; its memory is used again.
struct Undo {
  int first = 0;  // positions [first, end)
  int end = 0;
  std::vector<std::byte> bytes;
};

// The rows of 128 tokens. Never changes once it is full.
using Page = std::shared_ptr<const std::byte[]>;

// Copies share pages; each side then writes to pages of its own. A copy's fixed part holds what
// later tokens need, so that at a multiple of 128 tokens most of it takes no memory yet. Used by
// one thread at a time.
class KvCache {
 public:
  explicit KvCache(std::shared_ptr<const CacheShape> shape);
  KvCache(const KvCache& other);
  KvCache(KvCache&&) noexcept = default;
  KvCache& operator=(KvCache&&) noexcept = default;
  ~KvCache() = default;

  const CacheShape& shape() const noexcept { return *shape_; }
  int length() const noexcept { return length_; }  // tokens remembered

  // Whether pages of these were mapped from a file and can no longer be read (WatchedPages): what
  // was computed from them is wrong. Costs next to nothing as long as no page anywhere is lost.
  bool has_lost_rows() const noexcept;

  // Makes room for `tokens` tokens in all, before they are computed. May throw std::bad_alloc or
  // LostRows and has then changed nothing that matters.
  void reserve(std::int64_t tokens);

  // After a chunk: its rows are in place.
  void set_length(int tokens) noexcept { length_ = tokens; }

  // Views for kernels; valid until the next reserve(), go_back() or assignment.
  WindowRows window(int layer, std::byte* fresh) noexcept;  // fresh: rows from length() on
  Slots slots(int layer) noexcept;
  Slots index_slots(int layer) noexcept;
  RowTable rows(int layer) noexcept;
  RowTable keys(int layer) noexcept;

  void capture(Snapshot& snapshot) const;
  // Returns to the moment of `snapshot`, whose tokens must be the first ones of these.
  void go_back(const Snapshot& snapshot) noexcept;
  // Before a pass of `rows` tokens, at most kUndoMax and the window: keeps what all but the first
  // `certain` of them will overwrite. May throw std::bad_alloc.
  void keep_undo(int certain, int rows, Undo& undo) const;
  // After that pass: takes all tokens from position `tokens` on back, which must be among those.
  void take_back(int tokens, const Undo& undo) noexcept;

  // Becomes the timeline of `pages`, all full, and `snapshot`. May throw std::bad_alloc and is then
  // as before.
  void adopt(std::span<const Page> pages, const Snapshot& snapshot);
  // The same without a snapshot: windows and what compressors need are zeros, to be computed again
  // (rebuild_plan.h).
  void adopt(std::span<const Page> pages);
  // Puts a full page in the place of one that was computed and is equal where it is right. May
  // throw std::bad_alloc.
  void replace_page(int index, const Page& page);
  void clear() noexcept;

  // A full page, to be shared: it is never written again.
  Page share_page(int index) noexcept;

  // For files: pages in order, page_bytes each.
  int page_count() const noexcept { return pages_.size(); }
  std::span<const std::byte> page(int index) const noexcept;
  std::span<std::byte> page_for_writing(int index) noexcept;

  std::int64_t bytes() const noexcept;
  std::int64_t bytes_for(std::int64_t tokens) const noexcept;  // after reserve(tokens)

 private:
  Slots slots_at(std::int64_t offset, int ratio, int width) noexcept;
  void drop_pages_behind() noexcept;

  // Fresh from the kernel where it is large: then only what is written takes memory.
  struct Free {
    std::size_t mapped_bytes = 0;  // 0: from the heap
    void operator()(std::byte* bytes) const noexcept;
  };
  using FixedPart = std::unique_ptr<std::byte[], Free>;
  static FixedPart make_fixed(std::int64_t bytes);

  std::shared_ptr<const CacheShape> shape_;
  FixedPart fixed_;
  RowPages row_pages_;
  PageList pages_;
  mutable int shared_pages_ = 0;  // the first ones: others may read them, so none is written again
  int length_ = 0;
  mutable std::uint64_t losses_seen_ = 0;  // by has_lost_rows(), of these pages
};

}  // namespace fathom::engine
