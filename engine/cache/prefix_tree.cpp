// Walks, grows and shrinks the tree of prefixes.
#include "engine/cache/prefix_tree.h"

#include <algorithm>
#include <cassert>
#include <queue>

namespace fathom::engine {
namespace {

// What a token at a position costs, relative to the first: V4-Flash computes 28 GFLOP for a token
// at 1,024 and 140 at 1,048,576, and what lies between is close to a line.
double cost_at(std::int64_t position) noexcept {
  return 1.0 + static_cast<double>(position) / 275'000;
}

bool is_step(const Moment& moment) noexcept {
  return moment.tokens % kMomentEvery != 0;
}

int common(std::span<const Token> a, std::span<const Token> b) noexcept {
  return static_cast<int>(std::ranges::mismatch(a, b).in1 - a.begin());
}

constexpr std::ptrdiff_t kInsteadMax = 16;  // tokens: enough to recognise the place by

void take_if_longer(PrefixTree::Path& path, int before, std::span<const Token> rest,
                    std::span<const Token> known) {
  const int same = common(rest, known);
  if (before + same < path.known) return;
  const auto after = known.subspan(static_cast<std::size_t>(same));
  if (before + same == path.known && after.empty()) return;
  path.known = before + same;
  path.instead.assign(after.begin(), after.begin() + std::min(std::ssize(after), kInsteadMax));
}

}  // namespace

PrefixTree::Path PrefixTree::walk(std::span<const Token> prompt, int longer_than, int limit,
                                  KnownWay begun) const {
  Path path;
  BlockKey key = begun.blocks > 0 ? begun.end : root_;
  auto rest = prompt.subspan(static_cast<std::size_t>(begun.blocks) * kPageTokens);
  auto at = nodes_.find(key);
  while (at != nodes_.end()) {
    const Node& node = at->second;
    const auto passed = static_cast<int>(prompt.size() - rest.size());
    path.known = std::max(path.known, passed);
    for (const Moment& moment : node.moments) {
      const bool fits = moment.tokens > longer_than && moment.tokens <= limit;
      if (fits && common(rest, moment.open) == std::ssize(moment.open)) {
        path.stops.push_back({.after = key, .moment = moment});
      }
    }
    if (std::ssize(rest) < kPageTokens) break;
    const BlockKey next = next_key(key, rest.first(kPageTokens));
    const auto child = nodes_.find(next);
    if (child == nodes_.end() || !child->second.known ||
        !std::ranges::equal(child->second.block.ids, rest.first(kPageTokens))) {
      break;
    }
    path.steps.push_back(
        {.key = next, .page = child->second.block.page, .place = child->second.block.place});
    rest = rest.subspan(kPageTokens);
    key = next;
    at = child;
  }
  if (at != nodes_.end()) {
    see_how_it_differs(at->second, rest, static_cast<int>(prompt.size() - rest.size()), path);
  }
  std::ranges::stable_sort(path.stops, std::greater<>(),
                           [](const Stop& stop) { return stop.moment.tokens; });
  return path;
}

void PrefixTree::see_how_it_differs(const Node& node, std::span<const Token> rest, int before,
                                    Path& path) const {
  for (const Moment& moment : node.moments) take_if_longer(path, before, rest, moment.open);
  for (const BlockKey child : node.children) {
    const auto found = nodes_.find(child);
    if (found != nodes_.end() && found->second.known) {
      take_if_longer(path, before, rest, found->second.block.ids);
    }
  }
}

double PrefixTree::worth_of(const Block& block) const noexcept {
  const std::int64_t position = std::int64_t{block.number} * kPageTokens;
  return clock_ + kPageTokens * cost_at(position) / static_cast<double>(page_bytes_);
}

// Saves the tokens since the moment before it on its way.
double PrefixTree::worth_of(const Moment& moment, BlockKey after) const {
  int before = 0;
  BlockKey key = after;
  for (int i = 0; i <= kMomentEvery / kPageTokens; ++i) {
    const auto node = nodes_.find(key);
    if (node == nodes_.end()) break;
    for (const Moment& other : node->second.moments) {
      if (other.tokens < moment.tokens) before = std::max(before, other.tokens);
    }
    if (before > 0 || !node->second.known) break;
    key = node->second.block.parent;
  }
  const int saved = std::min(moment.tokens - before, kMomentEvery);
  const std::int64_t bytes = moment.state ? std::ssize(moment.state->bytes) : 0;
  return clock_ + saved * cost_at(moment.tokens) / static_cast<double>(bytes + 1);
}

bool PrefixTree::add(BlockKey key, const Block& block) {
  Node& node = nodes_[key];
  if (node.known) {
    if (node.block.parent != block.parent || node.block.ids != block.ids) return false;
  } else {
    node.known = true;
    node.block = block;
    node.block.page = nullptr;
    nodes_[block.parent].children.push_back(key);
  }
  Block& known = nodes_.at(key).block;
  if (block.place.segment >= 0) known.place = block.place;
  if (block.page && !known.page) {
    known.page = block.page;
    bytes_ += page_bytes_;
  }
  known.worth = worth_of(known);
  return true;
}

void PrefixTree::add(BlockKey after, Moment moment) {
  Node& node = nodes_[after];
  const auto same = std::ranges::find_if(
      node.moments, [&](const Moment& known) { return known.open == moment.open; });
  if (same == node.moments.end()) {
    moment.worth = worth_of(moment, after);
    if (moment.state) bytes_ += std::ssize(moment.state->bytes);
    node.moments.push_back(std::move(moment));
    if (node.moments.back().state) keep_latest_steps(after, node.moments.back());
    return;
  }
  if (!same->state && moment.state) {
    same->state = moment.state;
    bytes_ += std::ssize(moment.state->bytes);
    same->worth = worth_of(*same, after);
    keep_latest_steps(after, *same);
  }
  if (!moment.file.empty()) same->file = moment.file;
}

void PrefixTree::keep_latest_steps(BlockKey after, const Moment& moment) {
  if (!is_step(moment)) return;
  std::deque<StepReference>& steps = steps_[moment.origin.owner];
  steps.push_back({.after = after, .tokens = moment.tokens});
  if (std::ssize(steps) <= kStepsKept) return;
  const StepReference oldest = steps.front();
  steps.pop_front();
  const auto found = nodes_.find(oldest.after);
  if (found == nodes_.end()) return;
  for (std::size_t i = 0; i < found->second.moments.size(); ++i) {
    const Moment& old = found->second.moments[i];
    if (old.tokens == oldest.tokens && old.origin.owner == moment.origin.owner) {
      forget_state(found->second, i);
      return;
    }
  }
}

void PrefixTree::forget_state(Node& node, std::size_t index) {
  Moment& moment = node.moments[index];
  if (moment.state) bytes_ -= std::ssize(moment.state->bytes);
  moment.state = nullptr;
  if (moment.file.empty()) {
    node.moments.erase(node.moments.begin() + static_cast<std::ptrdiff_t>(index));
  }
}

const Block* PrefixTree::block(BlockKey key) const noexcept {
  const auto found = nodes_.find(key);
  return found == nodes_.end() || !found->second.known ? nullptr : &found->second.block;
}

void PrefixTree::set_queued(BlockKey key, bool queued) noexcept {
  const auto found = nodes_.find(key);
  if (found != nodes_.end()) found->second.block.queued = queued;
}

std::vector<Moment> PrefixTree::moments(BlockKey after) const {
  const auto found = nodes_.find(after);
  return found == nodes_.end() ? std::vector<Moment>() : found->second.moments;
}

void PrefixTree::lose_page(BlockKey key) noexcept {
  const auto found = nodes_.find(key);
  if (found == nodes_.end()) return;
  found->second.block.place = {};
  // A block without page and place is no block; its children wait for it to be computed again.
  if (!found->second.block.page) {
    const auto parent = nodes_.find(found->second.block.parent);
    if (parent != nodes_.end()) std::erase(parent->second.children, key);
    found->second.known = false;
  }
}

void PrefixTree::lose_segment(int segment) {
  std::vector<BlockKey> lost;
  for (const auto& [key, node] : nodes_) {
    if (node.known && node.block.place.segment == segment) lost.push_back(key);
  }
  for (const BlockKey key : lost) lose_page(key);
}

void PrefixTree::lose_pages(bool (*lost)(const std::byte* page) noexcept) {
  std::vector<BlockKey> keys;
  for (const auto& [key, node] : nodes_) {
    if (node.block.page && lost(node.block.page.get())) keys.push_back(key);
  }
  for (const BlockKey key : keys) forget_page(nodes_.find(key));
}

void PrefixTree::lose_moment(BlockKey after, const std::filesystem::path& file) noexcept {
  const auto found = nodes_.find(after);
  if (found == nodes_.end()) return;
  for (Moment& moment : found->second.moments) {
    if (moment.file == file) moment.file.clear();
  }
  std::erase_if(found->second.moments,
                [](const Moment& moment) { return !moment.state && moment.file.empty(); });
}

void PrefixTree::touch(const Path& path, const Stop& stop) {
  const auto blocks = static_cast<std::size_t>(stop.moment.tokens / kPageTokens);
  for (std::size_t i = 0; i < blocks && i < path.steps.size(); ++i) {
    const auto found = nodes_.find(path.steps[i].key);
    if (found != nodes_.end()) found->second.block.worth = worth_of(found->second.block);
  }
  const auto after = nodes_.find(stop.after);
  if (after == nodes_.end()) return;
  for (Moment& moment : after->second.moments) {
    if (moment.tokens == stop.moment.tokens) moment.worth = worth_of(moment, stop.after);
  }
}

bool PrefixTree::leaf(const Node& node) const {
  const auto in_memory = [](const Moment& moment) { return moment.state != nullptr; };
  if (std::ranges::any_of(node.moments, in_memory)) return false;
  return std::ranges::none_of(node.children, [&](BlockKey child) {
    const auto found = nodes_.find(child);
    return found != nodes_.end() && found->second.block.page;
  });
}

void PrefixTree::forget_page(Nodes::iterator at) {
  Block& block = at->second.block;
  block.page = nullptr;
  bytes_ -= page_bytes_;
  if (block.place.segment >= 0) return;
  const auto parent = nodes_.find(block.parent);
  if (parent != nodes_.end()) std::erase(parent->second.children, at->first);
  at->second.known = false;
  if (at->second.children.empty() && at->second.moments.empty()) nodes_.erase(at);
}

std::int64_t PrefixTree::idle_bytes() const {
  std::int64_t idle = 0;
  for (const auto& [key, node] : nodes_) {
    if (node.block.page && node.block.page.use_count() == 1) idle += page_bytes_;
    for (const Moment& moment : node.moments) {
      if (moment.state && moment.state.use_count() == 1) idle += std::ssize(moment.state->bytes);
    }
  }
  return idle;
}

void PrefixTree::shrink(std::int64_t bytes) {
  std::int64_t idle = idle_bytes();
  struct Candidate {
    double worth;
    BlockKey key;
    int tokens;  // of a moment; -1: the block's page
    bool operator<(const Candidate& other) const { return worth > other.worth; }
  };
  std::priority_queue<Candidate> queue;  // the least worth first
  const auto offer_page = [&](BlockKey key, const Node& node) {
    if (node.block.page && node.block.page.use_count() == 1 && leaf(node)) {
      queue.push({.worth = node.block.worth, .key = key, .tokens = -1});
    }
  };
  for (const auto& [key, node] : nodes_) {
    offer_page(key, node);
    for (const Moment& moment : node.moments) {
      if (moment.state && moment.state.use_count() == 1) {
        queue.push({.worth = moment.worth, .key = key, .tokens = moment.tokens});
      }
    }
  }
  while (idle > bytes && !queue.empty()) {
    const Candidate next = queue.top();
    queue.pop();
    const auto at = nodes_.find(next.key);
    if (at == nodes_.end()) continue;
    clock_ = std::max(clock_, next.worth);
    if (next.tokens < 0) {
      const BlockKey parent = at->second.block.parent;
      idle -= page_bytes_;
      forget_page(at);
      const auto above = nodes_.find(parent);
      if (above != nodes_.end()) offer_page(parent, above->second);
      continue;
    }
    std::vector<Moment>& moments = at->second.moments;
    const auto found = std::ranges::find_if(moments, [&](const Moment& moment) {
      return moment.tokens == next.tokens && moment.state && moment.state.use_count() == 1;
    });
    if (found == moments.end()) continue;
    idle -= std::ssize(found->state->bytes);
    forget_state(at->second, static_cast<std::size_t>(found - moments.begin()));
    offer_page(next.key, at->second);
  }
}

PrefixTree::Counts PrefixTree::counts() const {
  Counts counts;
  for (const auto& [key, node] : nodes_) {
    counts.blocks += node.block.page ? 1 : 0;
    counts.stored_blocks += node.block.place.segment >= 0 ? 1 : 0;
    for (const Moment& moment : node.moments) {
      counts.moments += moment.state ? 1 : 0;
      counts.stored_moments += moment.file.empty() ? 0 : 1;
    }
  }
  return counts;
}

}  // namespace fathom::engine
