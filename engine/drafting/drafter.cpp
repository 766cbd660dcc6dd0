// Drafts with the MTP block and keeps what a pass computed of them.
#include "engine/drafting/drafter.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>

#include "engine/model/engine_parts.h"
#include "engine/model/forward.h"

namespace fathom::engine {
namespace {

using Clock = std::chrono::steady_clock;

// Tokens whose streams are kept for a block that has not seen them. In a model of 4 layers, where a
// block is a quarter of it, 16 take as long as decoding one token.
constexpr int kHistory = 16;
// Rows of the buffer: when it is full the last kHistory move to its front.
constexpr int kRows = 2 * kHistory;

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

int streams_width(const Engine::Parts& parts) noexcept {
  return parts.weights.config.hc_mult * parts.weights.config.hidden_size;
}

}  // namespace

Drafter::Drafter(const Engine::Parts& parts)
    : parts_(&parts),
      length_(parts.draft_tokens,
              std::min(kDraftTokensMax, parts.weights.config.sliding_window - 1)) {
  if (!parts.weights.mtp.empty() && parts.draft_tokens != 0) block_.emplace(parts.mtp_shape);
}

void Drafter::reserve() {
  if (!block_ || !streams_.empty()) return;
  const int width = streams_width(*parts_);
  fed_.reserve(kDraftTokensMax + 1);
  pairs_.reserve(kHistory);
  own_.resize(size(width));
  logits_.resize(size(std::int64_t{kDraftTokensMax} * parts_->weights.config.vocab_size));
  streams_.resize(size(std::int64_t{kRows} * width));
}

int Drafter::streams_wanted(int rows) const noexcept {
  return block_ ? std::min(rows, kHistory) : 0;
}

void Drafter::follow(int position, ConstMatrix streams) noexcept {
  if (!block_) return;
  const int rows = std::min(streams.rows, kHistory);
  const int skipped = streams.rows - rows;
  if (position != end_ || skipped > 0) first_ = end_ = position + skipped;
  const std::int64_t width = streams.width;
  if (end_ - first_ + rows > kRows) {
    const float* kept = streams_.data() + (end_ - first_ - kHistory) * width;
    std::copy_n(kept, kHistory * width, streams_.data());
    first_ = end_ - kHistory;
  }
  for (int row = 0; row < rows; ++row) {
    std::copy_n(streams.row(skipped + row), width, streams_.data() + (end_ - first_) * width);
    ++end_;
  }
}

void Drafter::cut(int tokens) noexcept {
  forget_drafts();
  end_ = std::min(end_, tokens);
  first_ = std::min(first_, end_);
  // Rows of the window that later ones overwrote are gone, so the block begins anew.
  if (block_ && paired_ > tokens) block_->clear();
}

// Whether there are streams of the last of so many tokens.
bool Drafter::can_draft(int tokens) const noexcept {
  return block_ && end_ == tokens && first_ < end_;
}

// The first token that the block is to be fed, when it is fed up to the one at `last`.
int Drafter::begin_pairs(int last) noexcept {
  const int known = std::max(first_ + 1, last + 1 - kHistory);  // streams of the one before
  if (block_->length() > 0 && paired_ >= known) return paired_;
  block_->clear();
  return known;
}

ConstMatrix Drafter::streams_from(int position, int rows) const noexcept {
  assert(position >= first_ && position + rows <= end_);
  const int width = streams_width(*parts_);
  return {streams_.data() + std::int64_t{position - first_} * width, rows, width, width};
}

// Feeds the block tokens that are paired with `streams`. Returns what it holds for likeliest after
// the last of them, whose streams are then in own_.
Token Drafter::run_block(std::span<const Token> tokens, ConstMatrix streams) {
  const Engine::Parts& parts = *parts_;
  const MtpWeights& weights = parts.weights.mtp.front();
  const auto rows = static_cast<int>(tokens.size());
  block_->reserve(block_->length() + rows);
  parts.space.reserve(rows, block_->shape().row.bytes);
  parts.backend->reserve(rows, block_->length() + rows);
  const Sequence sequence{.cache = &*block_, .first_row = 0, .rows = rows};
  Pass pass = parts.compute.pass(parts.space, {&sequence, 1}, tokens);
  mtp_forward(pass, parts.weights, weights, streams);
  const int width = streams_width(parts);
  const Matrix all = pass.matrix(parts.space.streams, width);
  const Matrix logits =
      mtp_head(pass, parts.weights, weights, {all.row(rows - 1), 1, width, width});
  std::copy_n(all.row(rows - 1), width, own_.data());
  const float* likeliest = std::max_element(logits.row(0), logits.row(0) + logits.width);
  return static_cast<Token>(likeliest - logits.row(0));
}

std::span<const Token> Drafter::draft(std::span<const Token> tokens, Token token, int rows) {
  assert(fed_.size() <= 1);
  reserve();
  fed_.assign(1, token);
  const auto position = static_cast<int>(tokens.size());
  const DraftPlan plan = length_.next(can_draft(position) ? rows - 1 : 0);
  if (plan.tokens == 0) return fed_;

  const auto start = Clock::now();
  const std::lock_guard lock(parts_->scheduler);
  const int first = begin_pairs(position);
  pairs_.assign(tokens.begin() + first, tokens.end());
  pairs_.push_back(token);
  fed_.push_back(run_block(pairs_, streams_from(first - 1, position + 1 - first)));
  paired_ = position + 1;
  // Further ahead there are no streams of the trunk yet, so the block goes on with its own. What it
  // then remembers of drafts is taken back.
  const int sure = block_->length();
  const int width = streams_width(*parts_);
  block_->keep_undo(/*certain=*/0, plan.tokens - 1, undo_);
  while (std::ssize(fed_) <= plan.tokens) {
    const Token last = fed_.back();
    fed_.push_back(run_block({&last, 1}, {own_.data(), 1, width, width}));
  }
  block_->take_back(sure, undo_);
  length_.drafted(std::chrono::duration<double>(Clock::now() - start).count());
  return std::span(fed_).first(plan.checked ? fed_.size() : 1);
}

// Nobody asked for logits that are not finite yet: if somebody does, they are computed again and
// the error is theirs.
bool Drafter::keep(std::span<const float> logits) noexcept {
  if (!std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) return false;
  std::ranges::copy(logits, logits_.begin() + std::ssize(logits) * computed_);
  ++computed_;
  return true;
}

void Drafter::passed(double seconds) noexcept {
  length_.passed(seconds);
  counts_.drafted += computed_;
}

std::span<const float> Drafter::take(Token token) noexcept {
  if (taken_ + 1 < std::ssize(fed_)) {
    const bool right = fed_[size(taken_ + 1)] == token;
    length_.judged(taken_, right);
    if (right && taken_ < computed_) {
      ++counts_.accepted;
      const std::size_t width = size(parts_->weights.config.vocab_size);
      return std::span(logits_).subspan(size(taken_++) * width, width);
    }
  }
  forget_drafts();
  return {};
}

void Drafter::forget_drafts() noexcept {
  fed_.clear();
  computed_ = 0;
  taken_ = 0;
}

std::int64_t Drafter::bytes() const noexcept {
  if (!block_) return 0;
  const std::size_t floats = streams_.capacity() + own_.capacity() + logits_.capacity();
  return block_->bytes() +
         static_cast<std::int64_t>(floats * sizeof(float) + undo_.bytes.capacity());
}

}  // namespace fathom::engine
