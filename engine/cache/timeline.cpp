// Offers pages and moments of one session, finds those of others.
#include "engine/cache/timeline.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace fathom::engine {
namespace {

// Even: names hash to odd owners, so the two never meet.
std::uint64_t nobody() noexcept {
  static std::atomic<std::uint64_t> last = 0;
  return last += 2;
}

std::uint64_t owner_of(std::string_view name) noexcept {
  return name.empty() ? nobody() : root_key(name).low | 1U;
}

}  // namespace

class Timeline::Stand {
 public:
  Stand(std::shared_ptr<PrefixCache> cache, Origin origin)
      : cache_(std::move(cache)), owner_(origin.owner) {}
  ~Stand() { cache_->parts().ends(number_); }
  Stand(const Stand&) = delete;
  Stand& operator=(const Stand&) = delete;

  void at(BlockKey key) { cache_->parts().stands_at(number_, owner_, key); }
  void beside(const Stand& parent) {
    cache_->parts().stands_beside(number_, owner_, parent.number_);
  }

 private:
  const std::shared_ptr<PrefixCache> cache_;
  const std::uint64_t owner_;
  const std::uint64_t number_ = nobody();
};

Timeline::Timeline() = default;
Timeline::Timeline(Timeline&&) noexcept = default;
Timeline& Timeline::operator=(Timeline&&) noexcept = default;
Timeline::~Timeline() = default;

Timeline::Timeline(std::shared_ptr<PrefixCache> cache, std::string_view name)
    : cache_(std::move(cache)),
      origin_{.owner = owner_of(name), .named = !name.empty()},
      stand_(cache_ ? std::make_unique<Stand>(cache_, origin_) : nullptr) {}

Timeline::Timeline(const Timeline& other)
    : cache_(other.cache_),
      origin_{.owner = nobody(), .named = false},
      keys_(other.keys_),
      refused_(other.refused_),
      stand_(cache_ ? std::make_unique<Stand>(cache_, origin_) : nullptr) {
  if (stand_) stand_->beside(*other.stand_);
}

void Timeline::follow(std::span<const Token> tokens, KvCache& cache) {
  if (!cache_ || refused_) return;
  const auto blocks = tokens.size() / kPageTokens;
  if (keys_.size() >= blocks) return;
  while (keys_.size() < blocks) {
    const std::size_t number = keys_.size();
    const auto ids = tokens.subspan(number * kPageTokens, kPageTokens);
    const BlockKey parent = number == 0 ? cache_->parts().root() : keys_.back();
    const BlockKey key = next_key(parent, ids);
    Block block{.parent = parent,
                .number = static_cast<int>(number),
                .page = cache.share_page(static_cast<int>(number))};
    std::ranges::copy(ids, block.ids.begin());
    refused_ = !cache_->parts().add_block(key, block);
    if (refused_) return;
    keys_.push_back(key);
  }
  stand_->at(keys_.back());
}

void Timeline::add_moment(std::span<const Token> tokens, std::shared_ptr<const Snapshot> state) {
  if (!cache_ || refused_ || tokens.empty()) return;
  const std::size_t blocks = tokens.size() / kPageTokens;
  if (keys_.size() < blocks) return;
  const BlockKey after = blocks == 0 ? cache_->parts().root() : keys_[blocks - 1];
  const auto open = tokens.subspan(blocks * kPageTokens);
  cache_->parts().add_moment(after, {.tokens = static_cast<int>(tokens.size()),
                                     .open = {open.begin(), open.end()},
                                     .state = std::move(state),
                                     .file = {},
                                     .origin = origin_});
}

void Timeline::cut(int tokens) {
  const auto blocks = static_cast<std::size_t>(tokens / kPageTokens);
  if (keys_.size() <= blocks) return;
  keys_.resize(blocks);
  refused_ = false;
}

KnownWay Timeline::own(int tokens) const noexcept {
  const auto blocks = std::min(static_cast<std::size_t>(tokens / kPageTokens), keys_.size());
  if (blocks == 0) return {};
  return {.end = keys_[blocks - 1], .blocks = static_cast<int>(blocks)};
}

PrefixCache::Parts::Found Timeline::find(std::span<const Token> prompt, int longer_than) const {
  if (!cache_) return {};
  return cache_->parts().longest_prefix(prompt, longer_than, own(longer_than));
}

int Timeline::reachable(std::span<const Token> prompt, int longer_than) const {
  return cache_ ? cache_->parts().reachable(prompt, longer_than, own(longer_than)) : 0;
}

}  // namespace fathom::engine
