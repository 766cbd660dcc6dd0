// Merging: plainly, for short pieces, and for long ones.
#include "engine/text/bpe.h"

#include <cassert>
#include <limits>
#include <queue>

#include "engine/text/hash.h"

namespace fathom::engine {
namespace {

// Up to here a linear search for the best pair beats a heap (measured: 20 to 60 is flat).
constexpr std::size_t kShortBytes = 40;

constexpr std::int32_t kNoRank = std::numeric_limits<std::int32_t>::max();

std::uint64_t hash_of(Token left, Token right) noexcept {
  const std::uint64_t pair = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                             static_cast<std::uint32_t>(right);
  return mixed(0, pair);
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<Merge>& merges)
    : vocabulary_(std::move(vocabulary)),
      rules_(slots_for(merges.size())),
      whole_(static_cast<std::size_t>(vocabulary_.size())) {
  for (std::size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
    const char text = static_cast<char>(byte);
    const auto token = vocabulary_.find({&text, 1});
    assert(token.has_value());
    byte_tokens_[byte] = *token;
  }
  std::int32_t rank = 0;
  for (const Merge& merge : merges) insert({merge.left, merge.right, rank++, merge.merged});
}

void Bpe::insert(const Rule& rule) {
  std::size_t at = first_slot(hash_of(rule.left, rule.right), rules_.size());
  for (; rules_[at].left >= 0; at = next_slot(at, rules_.size())) {
    if (rules_[at].left == rule.left && rules_[at].right == rule.right) return;
  }
  rules_[at] = rule;
}

const Bpe::Rule* Bpe::find(Token left, Token right) const noexcept {
  std::size_t at = first_slot(hash_of(left, right), rules_.size());
  for (; rules_[at].left >= 0; at = next_slot(at, rules_.size())) {
    if (rules_[at].left == left && rules_[at].right == right) return &rules_[at];
  }
  return nullptr;
}

void Bpe::encode(std::string_view piece, std::vector<Token>& tokens) const {
  const auto token = vocabulary_.find(piece);
  if (!token) return merge(piece, tokens);

  // Every thread that finds `unknown` computes the same answer, so the order does not matter.
  std::atomic<Whole>& whole = whole_[static_cast<std::size_t>(*token)];
  const Whole known = whole.load(std::memory_order_relaxed);
  if (known == Whole::yes) return tokens.push_back(*token);
  const std::size_t before = tokens.size();
  merge(piece, tokens);
  if (known == Whole::unknown) {
    const bool same = tokens.size() == before + 1 && tokens.back() == *token;
    whole.store(same ? Whole::yes : Whole::no, std::memory_order_relaxed);
  }
}

void Bpe::merge(std::string_view piece, std::vector<Token>& tokens) const {
  piece.size() <= kShortBytes ? merge_short(piece, tokens) : merge_long(piece, tokens);
}

void Bpe::encode_plainly(std::string_view piece, std::vector<Token>& tokens) const {
  std::vector<Token> parts;
  for (const char c : piece) parts.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  while (true) {
    const Rule* best = nullptr;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const Rule* rule = find(parts[i], parts[i + 1]);
      if (rule == nullptr || (best != nullptr && rule->rank >= best->rank)) continue;
      best = rule;
      best_at = i;
    }
    if (best == nullptr) break;
    parts[best_at] = best->merged;
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
  tokens.insert(tokens.end(), parts.begin(), parts.end());
}

// As encode_plainly, but remembers the rule of each pair: a merge changes only its neighbours'.
void Bpe::merge_short(std::string_view piece, std::vector<Token>& tokens) const {
  struct Part {
    Token token;
    std::int32_t rank;  // of the pair it forms with the next part
    Token merged;
  };
  assert(!piece.empty() && piece.size() <= kShortBytes);
  std::array<Part, kShortBytes> parts;
  std::size_t count = piece.size();
  const auto join = [&](std::size_t i) {
    const Rule* rule = i + 1 < count ? find(parts[i].token, parts[i + 1].token) : nullptr;
    parts[i].rank = rule == nullptr ? kNoRank : rule->rank;
    parts[i].merged = rule == nullptr ? -1 : rule->merged;
  };
  for (std::size_t i = 0; i < count; ++i) {
    parts[i].token = byte_tokens_[static_cast<unsigned char>(piece[i])];
  }
  for (std::size_t i = 0; i < count; ++i) join(i);
  while (true) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < count; ++i) {
      if (parts[i].rank < parts[best].rank) best = i;
    }
    if (parts[best].rank == kNoRank) break;
    parts[best].token = parts[best].merged;
    for (std::size_t i = best + 1; i + 1 < count; ++i) parts[i] = parts[i + 1];
    --count;
    join(best);
    if (best > 0) join(best - 1);
  }
  for (std::size_t i = 0; i < count; ++i) tokens.push_back(parts[i].token);
}

// A run of Chinese or of white space is one piece however long, so the parts form a linked list and
// the candidate pairs a heap. A candidate whose pair was changed meanwhile is skipped when it is
// reached: tokens only grow, so equal tokens at a place are the same pair.
void Bpe::merge_long(std::string_view piece, std::vector<Token>& tokens) const {
  struct Part {
    Token token;
    std::int32_t previous;
    std::int32_t next;  // -1: none
  };
  struct Candidate {
    std::int32_t rank;
    std::int32_t at;
    const Rule* rule;
    bool operator>(const Candidate& other) const noexcept {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const auto count = static_cast<std::int32_t>(piece.size());
  std::vector<Part> parts(piece.size());
  std::vector<Candidate> found;
  std::priority_queue heap(std::greater<Candidate>(), std::move(found));
  const auto part = [&](std::int32_t i) -> Part& { return parts[static_cast<std::size_t>(i)]; };
  const auto offer = [&](std::int32_t at) {
    if (at < 0 || part(at).next < 0) return;
    const Rule* rule = find(part(at).token, part(part(at).next).token);
    if (rule != nullptr) heap.push({rule->rank, at, rule});
  };
  for (std::int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(piece[static_cast<std::size_t>(i)]);
    part(i) = {byte_tokens_[byte], i - 1, i + 1 < count ? i + 1 : -1};
  }
  for (std::int32_t i = 0; i < count; ++i) offer(i);

  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Part& left = part(best.at);
    if (left.token != best.rule->left || left.next < 0) continue;
    Part& right = part(left.next);
    if (right.token != best.rule->right) continue;
    left.token = best.rule->merged;
    right.token = -1;
    left.next = right.next;
    if (left.next >= 0) part(left.next).previous = best.at;
    offer(best.at);
    offer(left.previous);
  }
  for (std::int32_t i = 0; i >= 0; i = part(i).next) tokens.push_back(part(i).token);
}

}  // namespace fathom::engine
