// Layout, pages and snapshots of the cache.
#include "engine/cache/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include <sys/mman.h>

#include "engine/cache/lost_rows.h"
#include "engine/weights/watched_pages.h"

namespace fathom::engine {
namespace {

constexpr std::int64_t kAlignment = 64;  // a cache line

// From here on the heap would hand out memory that was used before, and clear all of it.
constexpr std::int64_t kMappedFrom = std::int64_t{128} << 10;

std::int64_t aligned(std::int64_t bytes) noexcept {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int slot_count(int ratio) noexcept {
  return ratio == 4 ? 8 : ratio;
}
static_assert(kUndoMax <= 8);
int slot_width(int ratio, int row_width) noexcept {
  return ratio == 4 ? 2 * row_width : row_width;
}

std::int64_t slot_bytes(int ratio, int row_width) noexcept {
  return std::int64_t{2} * slot_count(ratio) * slot_width(ratio, row_width) *
         static_cast<std::int64_t>(sizeof(float));
}

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

// Calls visit(offset, bytes) for the parts of a fixed part that matter after `tokens` tokens.
template <class Visit>
void for_live_parts(const CacheShape& shape, int tokens, Visit&& visit) {
  const auto visit_slots = [&](std::int64_t offset, int ratio, int width) {
    const std::int64_t half = slot_bytes(ratio, width) / 2;
    const std::int64_t slot = half / slot_count(ratio);
    const int open = tokens % ratio;
    for (const std::int64_t values_or_gates : {offset, offset + half}) {
      if (ratio == 4) {
        // A row of ratio 4 also reads the window before, of it the first half of every slot.
        const int before = tokens / ratio % 2 == 0 ? ratio : 0;
        for (int i = 0; i < ratio && tokens >= ratio; ++i) {
          visit(values_or_gates + (before + i) * slot, slot / 2);
        }
        visit(values_or_gates + (ratio - before) * slot, open * slot);
      } else {
        visit(values_or_gates, open * slot);
      }
    }
  };
  for (const LayerShape& layer : shape.layers) {
    visit(layer.window, std::min(tokens, shape.window) * shape.row.bytes);
    if (layer.ratio != 0) visit_slots(layer.slots, layer.ratio, shape.row.width);
    if (layer.ratio == 4) visit_slots(layer.index_slots, layer.ratio, shape.key.width);
  }
}

// The same of the page that holds tokens % kPageTokens tokens; offsets inside the page.
template <class Visit>
void for_open_rows(const CacheShape& shape, int tokens, Visit&& visit) {
  const int open = tokens % kPageTokens;
  for (const LayerShape& layer : shape.layers) {
    if (layer.ratio != 0) visit(layer.rows, open / layer.ratio * shape.row.bytes);
    if (layer.ratio == 4) visit(layer.keys, open / layer.ratio * shape.key.bytes);
  }
}

// The same for what the token at `position` overwrites in the fixed part.
template <class Visit>
void for_parts_of_token(const CacheShape& shape, int position, Visit&& visit) {
  const auto visit_slot = [&](std::int64_t offset, int ratio, int width) {
    const std::int64_t half = slot_bytes(ratio, width) / 2;
    const std::int64_t slot = half / slot_count(ratio);
    visit(offset + position % slot_count(ratio) * slot, slot);
    visit(offset + half + position % slot_count(ratio) * slot, slot);
  };
  for (const LayerShape& layer : shape.layers) {
    visit(layer.window + position % shape.window * shape.row.bytes, shape.row.bytes);
    if (layer.ratio != 0) visit_slot(layer.slots, layer.ratio, shape.row.width);
    if (layer.ratio == 4) visit_slot(layer.index_slots, layer.ratio, shape.key.width);
  }
}

// Pages of others, which shared_pages_ guards: they are never written.
PageList list_of(std::span<const Page> pages) {
  PageList list;
  for (const Page& page : pages) list.append(std::const_pointer_cast<std::byte[]>(page));
  return list;
}

}  // namespace

std::int64_t CacheShape::state_bytes(int tokens) const noexcept {
  std::int64_t total = 0;
  const auto add = [&](std::int64_t, std::int64_t bytes) { total += bytes; };
  for_live_parts(*this, tokens, add);
  for_open_rows(*this, tokens, add);
  return total;
}

CacheShape::CacheShape(const ModelConfig& config, Rounding rounding, std::span<const int> ratios)
    : row(kv_row_format(config, rounding)), window(config.sliding_window) {
  if (std::ranges::count(ratios, 4) > 0) key = index_key_format(config, rounding);
  const auto take = [](std::int64_t& total, std::int64_t bytes) {
    const std::int64_t offset = total;
    total = aligned(total + bytes);
    return offset;
  };
  for (const int ratio : ratios) {
    LayerShape layer{.ratio = ratio};
    layer.window = take(fixed_bytes, window * row.bytes);
    if (ratio != 0) {
      layer.slots = take(fixed_bytes, slot_bytes(ratio, row.width));
      layer.rows = std::exchange(page_bytes, page_bytes + kPageTokens / ratio * row.bytes);
    }
    if (ratio == 4) {
      layer.index_slots = take(fixed_bytes, slot_bytes(ratio, key.width));
      layer.keys = std::exchange(page_bytes, page_bytes + kPageTokens / ratio * key.bytes);
    }
    layers.push_back(layer);
  }
}

void KvCache::Free::operator()(std::byte* bytes) const noexcept {
  if (mapped_bytes > 0) {
    ::munmap(bytes, mapped_bytes);
  } else {
    std::free(bytes);
  }
}

KvCache::FixedPart KvCache::make_fixed(std::int64_t bytes) {
  if (bytes < kMappedFrom) {
    // At least a byte: of nothing calloc may return null.
    FixedPart part(static_cast<std::byte*>(std::calloc(size(bytes) + 1, 1)), Free{});
    if (!part) throw std::bad_alloc();
    return part;
  }
  void* memory =
      ::mmap(nullptr, size(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), Free{.mapped_bytes = size(bytes)}};
}

KvCache::KvCache(std::shared_ptr<const CacheShape> shape)
    : shape_(std::move(shape)),
      fixed_(make_fixed(shape_->fixed_bytes)),
      row_pages_(shape_->page_bytes) {}

KvCache::KvCache(const KvCache& other)
    : shape_(other.shape_),
      fixed_(make_fixed(shape_->fixed_bytes)),
      row_pages_(other.row_pages_),
      pages_(other.pages_) {
  length_ = other.length_;
  shared_pages_ = other.shared_pages_ = other.page_count();
  for_live_parts(*shape_, length_, [&](std::int64_t offset, std::int64_t bytes) {
    std::copy_n(other.fixed_.get() + offset, bytes, fixed_.get() + offset);
  });
}

bool KvCache::has_lost_rows() const noexcept {
  const std::uint64_t losses = WatchedPages::losses();
  if (losses == losses_seen_) return false;
  for (int i = 0; i < page_count(); ++i) {
    if (WatchedPages::lost_at(pages_[i])) return true;
  }
  losses_seen_ = losses;
  return false;
}

void KvCache::reserve(std::int64_t tokens) {
  const auto count = static_cast<int>((tokens + kPageTokens - 1) / kPageTokens);
  while (page_count() < count) pages_.append(row_pages_.make());
  const int next = length_ / kPageTokens;
  if (next < shared_pages_) {
    auto own = std::make_shared<std::byte[]>(size(shape_->page_bytes));
    std::memcpy(own.get(), pages_[next], size(shape_->page_bytes));
    if (has_lost_rows()) throw LostRows();
    pages_.replace(next, std::move(own));
    shared_pages_ = next;
  }
}

WindowRows KvCache::window(int layer, std::byte* fresh) noexcept {
  return {.ring = fixed_.get() + shape_->layers[size(layer)].window,
          .fresh = fresh,
          .first_fresh = length_,
          .window = shape_->window,
          .format = shape_->row};
}

Slots KvCache::slots_at(std::int64_t offset, int ratio, int width) noexcept {
  Slots slots{.slots = slot_count(ratio), .width = slot_width(ratio, width)};
  slots.values = reinterpret_cast<float*>(fixed_.get() + offset);
  slots.gates = slots.values + static_cast<std::ptrdiff_t>(slots.slots) * slots.width;
  return slots;
}

Slots KvCache::slots(int layer) noexcept {
  const LayerShape& at = shape_->layers[size(layer)];
  return slots_at(at.slots, at.ratio, shape_->row.width);
}

Slots KvCache::index_slots(int layer) noexcept {
  const LayerShape& at = shape_->layers[size(layer)];
  return slots_at(at.index_slots, at.ratio, shape_->key.width);
}

RowTable KvCache::rows(int layer) noexcept {
  const LayerShape& at = shape_->layers[size(layer)];
  return {pages_.addresses(), at.rows, kPageTokens / at.ratio, shape_->row};
}

RowTable KvCache::keys(int layer) noexcept {
  const LayerShape& at = shape_->layers[size(layer)];
  return {pages_.addresses(), at.keys, kPageTokens / at.ratio, shape_->key};
}

void KvCache::capture(Snapshot& snapshot) const {
  snapshot.bytes.resize(size(shape_->state_bytes(length_)));
  snapshot.tokens = length_;
  std::byte* to = snapshot.bytes.data();
  for_live_parts(*shape_, length_, [&](std::int64_t offset, std::int64_t bytes) {
    to = std::copy_n(fixed_.get() + offset, bytes, to);
  });
  if (length_ % kPageTokens == 0) return;
  const std::byte* page = pages_[length_ / kPageTokens];
  for_open_rows(*shape_, length_, [&](std::int64_t offset, std::int64_t bytes) {
    to = std::copy_n(page + offset, bytes, to);
  });
}

// The rows of the open page are where they were: what is written behind them changes none of them.
void KvCache::go_back(const Snapshot& snapshot) noexcept {
  const std::byte* from = snapshot.bytes.data();
  for_live_parts(*shape_, snapshot.tokens, [&](std::int64_t offset, std::int64_t bytes) {
    assert(from + bytes <= snapshot.bytes.data() + snapshot.bytes.size());
    std::copy_n(from, bytes, fixed_.get() + offset);
    from += bytes;
  });
  length_ = snapshot.tokens;
  drop_pages_behind();
}

void KvCache::drop_pages_behind() noexcept {
  pages_.shorten((length_ + kPageTokens - 1) / kPageTokens);
  shared_pages_ = std::min(shared_pages_, page_count());
}

void KvCache::keep_undo(int certain, int rows, Undo& undo) const {
  undo.first = length_ + certain;
  undo.end = length_ + rows;
  assert(certain >= 0 && certain <= rows && rows <= std::min(kUndoMax, shape_->window));
  std::int64_t total = 0;
  for_parts_of_token(*shape_, 0, [&](std::int64_t, std::int64_t bytes) { total += bytes; });
  undo.bytes.resize(size(total * (undo.end - undo.first)));
  std::byte* to = undo.bytes.data();
  for (int position = undo.first; position < undo.end; ++position) {
    for_parts_of_token(*shape_, position, [&](std::int64_t offset, std::int64_t bytes) {
      to = std::copy_n(fixed_.get() + offset, bytes, to);
    });
  }
}

// Compressed rows that those tokens completed stay in their page: nobody looks behind the last
// token, and the tokens to come complete them anew.
void KvCache::take_back(int tokens, const Undo& undo) noexcept {
  assert(tokens >= undo.first && tokens <= length_ && length_ == undo.end);
  const std::byte* from = undo.bytes.data();
  for (int position = undo.first; position < undo.end; ++position) {
    for_parts_of_token(*shape_, position, [&](std::int64_t offset, std::int64_t bytes) {
      if (position >= tokens) std::copy_n(from, bytes, fixed_.get() + offset);
      from += bytes;
    });
  }
  length_ = tokens;
  drop_pages_behind();
}

void KvCache::adopt(std::span<const Page> pages, const Snapshot& snapshot) {
  const int open = snapshot.tokens % kPageTokens;
  assert(std::ssize(pages) == snapshot.tokens / kPageTokens);
  assert(std::ssize(snapshot.bytes) == shape_->state_bytes(snapshot.tokens));
  PageList adopted = list_of(pages);
  if (open > 0) {
    adopted.append(std::make_shared<std::byte[]>(size(shape_->page_bytes)));
    std::int64_t rows = 0;
    for_open_rows(*shape_, snapshot.tokens,
                  [&](std::int64_t, std::int64_t bytes) { rows += bytes; });
    const std::byte* from = snapshot.bytes.data() + std::ssize(snapshot.bytes) - rows;
    for_open_rows(*shape_, snapshot.tokens, [&](std::int64_t offset, std::int64_t bytes) {
      std::copy_n(from, bytes, adopted[adopted.size() - 1] + offset);
      from += bytes;
    });
  }
  pages_ = std::move(adopted);
  losses_seen_ = 0;
  shared_pages_ = static_cast<int>(pages.size());
  go_back(snapshot);
}

void KvCache::adopt(std::span<const Page> pages) {
  FixedPart zeros = make_fixed(shape_->fixed_bytes);
  pages_ = list_of(pages);
  losses_seen_ = 0;
  fixed_ = std::move(zeros);
  shared_pages_ = page_count();
  length_ = shared_pages_ * kPageTokens;
}

void KvCache::replace_page(int index, const Page& page) {
  assert(index < page_count() && (index + 1) * kPageTokens <= length_);
  pages_.replace(index, std::const_pointer_cast<std::byte[]>(page));
  losses_seen_ = 0;
  shared_pages_ = std::max(shared_pages_, index + 1);
}

void KvCache::clear() noexcept {
  length_ = 0;
  shared_pages_ = 0;
  pages_.shorten(0);
}

Page KvCache::share_page(int index) noexcept {
  assert((index + 1) * kPageTokens <= length_);
  shared_pages_ = std::max(shared_pages_, index + 1);
  return pages_.owner(index);
}

std::span<const std::byte> KvCache::page(int index) const noexcept {
  return {pages_[index], size(shape_->page_bytes)};
}

std::span<std::byte> KvCache::page_for_writing(int index) noexcept {
  assert(index >= shared_pages_);
  return {pages_[index], size(shape_->page_bytes)};
}

std::int64_t KvCache::bytes() const noexcept {
  return bytes_for(0);
}

std::int64_t KvCache::bytes_for(std::int64_t tokens) const noexcept {
  const std::int64_t pages =
      std::max<std::int64_t>(page_count(), (tokens + kPageTokens - 1) / kPageTokens);
  return shape_->fixed_bytes + pages * shape_->page_bytes;
}

}  // namespace fathom::engine
