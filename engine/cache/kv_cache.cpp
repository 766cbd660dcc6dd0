// Layout, pages and snapshots of the cache.
#include "engine/cache/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace fathom::engine {
namespace {

constexpr std::int64_t kAlignment = 64;  // a cache line

std::int64_t aligned(std::int64_t bytes) noexcept {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int slot_count(int ratio) noexcept {
  return ratio == 4 ? 8 : ratio;
}
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

}  // namespace

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

KvCache::KvCache(std::shared_ptr<const CacheShape> shape)
    : shape_(std::move(shape)), fixed_(size(shape_->fixed_bytes)) {}

void KvCache::reserve(std::int64_t tokens) {
  const auto count = size((tokens + kPageTokens - 1) / kPageTokens);
  page_addresses_.reserve(count);
  while (pages_.size() < count) {
    pages_.push_back(std::make_shared<std::byte[]>(size(shape_->page_bytes)));
    page_addresses_.push_back(pages_.back().get());
  }
  // The page that the next token writes to may be shared with a fork.
  const auto next = size(length_ / kPageTokens);
  if (next < pages_.size() && pages_[next].use_count() > 1) {
    auto own = std::make_shared<std::byte[]>(size(shape_->page_bytes));
    std::memcpy(own.get(), pages_[next].get(), size(shape_->page_bytes));
    page_addresses_[next] = own.get();
    pages_[next] = std::move(own);
  }
}

WindowRows KvCache::window(int layer, std::byte* fresh) noexcept {
  return {.ring = fixed_.data() + shape_->layers[size(layer)].window,
          .fresh = fresh,
          .first_fresh = length_,
          .window = shape_->window,
          .format = shape_->row};
}

Slots KvCache::slots_at(std::int64_t offset, int ratio, int width) noexcept {
  Slots slots{.slots = slot_count(ratio), .width = slot_width(ratio, width)};
  slots.values = reinterpret_cast<float*>(fixed_.data() + offset);
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
  return {page_addresses_.data(), at.rows, kPageTokens / at.ratio, shape_->row};
}

RowTable KvCache::keys(int layer) noexcept {
  const LayerShape& at = shape_->layers[size(layer)];
  return {page_addresses_.data(), at.keys, kPageTokens / at.ratio, shape_->key};
}

template <class Visit>
void KvCache::for_live_parts(int tokens, Visit&& visit) const {
  const auto visit_slots = [&](std::int64_t offset, int ratio, int width) {
    // Of a ratio-128 window only its tokens so far; of ratio 4 also the window before.
    const int slots = slot_count(ratio);
    const int live = ratio == 4 ? std::min(tokens, slots) : tokens % ratio;
    const std::int64_t half = slot_bytes(ratio, width) / 2;
    visit(offset, half / slots * live);
    visit(offset + half, half / slots * live);
  };
  for (const LayerShape& layer : shape_->layers) {
    visit(layer.window, std::min(tokens, shape_->window) * shape_->row.bytes);
    if (layer.ratio != 0) visit_slots(layer.slots, layer.ratio, shape_->row.width);
    if (layer.ratio == 4) visit_slots(layer.index_slots, layer.ratio, shape_->key.width);
  }
}

std::int64_t KvCache::live_bytes(int tokens) const noexcept {
  std::int64_t total = 0;
  for_live_parts(tokens, [&](std::int64_t, std::int64_t bytes) { total += bytes; });
  return total;
}

void KvCache::capture(Snapshot& snapshot) const {
  snapshot.bytes.resize(size(live_bytes(length_)));
  snapshot.tokens = length_;
  std::byte* to = snapshot.bytes.data();
  for_live_parts(length_, [&](std::int64_t offset, std::int64_t bytes) {
    to = std::copy_n(fixed_.data() + offset, bytes, to);
  });
}

void KvCache::go_back(const Snapshot& snapshot) noexcept {
  const std::byte* from = snapshot.bytes.data();
  for_live_parts(snapshot.tokens, [&](std::int64_t offset, std::int64_t bytes) {
    assert(from + bytes <= snapshot.bytes.data() + snapshot.bytes.size());
    std::copy_n(from, bytes, fixed_.data() + offset);
    from += bytes;
  });
  length_ = snapshot.tokens;
  const auto pages = size((length_ + kPageTokens - 1) / kPageTokens);
  if (pages < pages_.size()) {
    pages_.resize(pages);
    page_addresses_.resize(pages);
  }
}

void KvCache::clear() noexcept {
  length_ = 0;
  pages_.clear();
  page_addresses_.clear();
}

std::span<const std::byte> KvCache::page(int index) const noexcept {
  return {pages_[size(index)].get(), size(shape_->page_bytes)};
}

std::span<std::byte> KvCache::page_for_writing(int index) noexcept {
  assert(pages_[size(index)].use_count() == 1);
  return {pages_[size(index)].get(), size(shape_->page_bytes)};
}

std::int64_t KvCache::bytes() const noexcept {
  return shape_->fixed_bytes + static_cast<std::int64_t>(pages_.size()) * shape_->page_bytes;
}

}  // namespace fathom::engine
