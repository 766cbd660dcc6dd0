// Steps of a pass, rows that leave it, and what is handed out at its end.
#include "engine/scheduling/lane.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>

#include "engine/model/forward.h"
#include "engine/model/parts.h"

namespace fathom::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

// Rows from `first` on move up by `count`.
template <class Value>
void close_gap(std::vector<Value>& buffer, int first, int count, int rows, int width) {
  const auto at = [&](int row) { return buffer.begin() + std::ptrdiff_t{row} * width; };
  std::copy(at(first + count), at(rows), at(first));
}

}  // namespace

Lane::Lane(const Compute& compute, int rows_max)
    : compute_(compute), space_(compute.weights.config) {
  tokens_.reserve(size(rows_max));
  logits_.reserve(size(rows_max));
}

void Lane::add(Job& job, int rows) {
  assert(!begun_ && !full() && rows > 0 && rows <= std::ssize(job.request.tokens));
  assert(tokens_.size() + size(rows) <= tokens_.capacity());
  jobs_[size(count_)] = &job;
  sequences_[size(count_)] = {.cache = &job.request.cache, .first_row = this->rows(), .rows = rows};
  ++count_;
  const auto taken = job.request.tokens.first(size(rows));
  tokens_.insert(tokens_.end(), taken.begin(), taken.end());
  job.rows = rows;
}

void Lane::remove(int index) {
  const Sequence gone = sequences_[size(index)];
  const ModelConfig& config = compute_.weights.config;
  if (begun_) {
    const auto close = [&](auto& buffer, int width) {
      close_gap(buffer, gone.first_row, gone.rows, rows(), width);
    };
    close(space_.streams, config.hc_mult * config.hidden_size);
    close(space_.plain_angles, config.qk_rope_head_dim);
    close(space_.long_angles, config.qk_rope_head_dim);
  }
  const auto first = tokens_.begin() + gone.first_row;
  tokens_.erase(first, first + gone.rows);
  for (int i = index; i + 1 < count_; ++i) {
    jobs_[size(i)] = jobs_[size(i + 1)];
    sequences_[size(i)] = sequences_[size(i + 1)];
    sequences_[size(i)].first_row -= gone.rows;
  }
  if (--count_ == 0) clear();
}

void Lane::clear() noexcept {
  count_ = 0;
  tokens_.clear();
  begun_ = false;
  layer_ = 0;
  seconds_ = slowest_layer_ = 0;
}

Pass Lane::pass() noexcept {
  return compute_.pass(space_, {sequences_.data(), size(count_)}, tokens_);
}

bool Lane::run_layer() {
  assert(active());
  const auto start = Clock::now();
  if (!begun_) begin();
  const auto layer_start = Clock::now();
  Pass now = pass();
  const BlockWeights& block = compute_.weights.layers[size(layer_)];
  if (now.experts != nullptr) now.keep_waiting = [this] { return !all_stopped(); };
  if (!run_block(now, compute_.weights, block, {"layer", layer_})) return false;
  ++layer_;
  slowest_layer_ = std::max(slowest_layer_, seconds_since(layer_start));
  const bool through = layer_ == std::ssize(compute_.weights.layers);
  if (through) end();
  seconds_ += seconds_since(start);
  return through;
}

void Lane::begin() {
  std::int64_t longest = 4096;
  for (const Sequence& sequence : std::span(sequences_).first(size(count_))) {
    longest = std::max<std::int64_t>(longest, sequence.end_position());
  }
  space_.reserve(rows(), sequences_.front().cache->shape().row.bytes);
  compute_.backend.reserve(
      rows(), static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(longest))));
  Pass now = pass();
  begin_pass(now, compute_.weights);
  begun_ = true;
}

void Lane::end() {
  Pass now = pass();
  end_pass(now, compute_.weights);
  if (now.experts != nullptr) expect_next_tokens(now);
  for (int i = 0; i < count_; ++i) copy_streams(*jobs_[size(i)], sequences_[size(i)]);
  const int wanted = gather_logit_rows();
  const ModelConfig& config = compute_.weights.config;
  const Matrix streams = space_.matrix(space_.streams, wanted, config.hc_mult * config.hidden_size);
  for (int row = 0; row < wanted; row += Workspace::kLogitRows) {
    const int count = std::min(Workspace::kLogitRows, wanted - row);
    const Matrix found = head(now, compute_.weights, streams.slice(row, count));
    for (int i = 0; i < count; ++i) {
      std::copy_n(found.row(i), found.width, logits_[size(row + i)]);
    }
  }
}

// What follows in the prompts is known: experts that the hash layers will want of it are read while
// the rest of this pass is computed.
void Lane::expect_next_tokens(Pass& pass) const {
  for (const Job* job : jobs()) {
    const auto after = job->request.tokens.subspan(size(job->rows));
    expect_hashed(pass, compute_.weights, after.first(std::min(after.size(), tokens_.capacity())));
  }
}

bool Lane::all_stopped() const noexcept {
  return std::ranges::all_of(
      jobs(), [](const Job* job) { return job->request.stop.stop_requested(); });
}

void Lane::copy_streams(const Job& job, const Sequence& sequence) {
  const ModelConfig& config = compute_.weights.config;
  const std::int64_t width = std::int64_t{config.hc_mult} * config.hidden_size;
  const int unwanted = static_cast<int>(job.request.tokens.size()) - job.request.stream_rows;
  for (int row = std::max(0, unwanted); row < sequence.rows; ++row) {
    std::copy_n(space_.streams.data() + (sequence.first_row + row) * width, width,
                job.request.streams + (row - unwanted) * width);
  }
}

// Moves streams whose logits somebody wants to the front. Returns how many there are.
int Lane::gather_logit_rows() {
  const ModelConfig& config = compute_.weights.config;
  const std::int64_t width = std::int64_t{config.hc_mult} * config.hidden_size;
  logits_.clear();
  for (int i = 0; i < count_; ++i) {
    const Request& request = jobs_[size(i)]->request;
    const Sequence& sequence = sequences_[size(i)];
    const int unwanted = static_cast<int>(request.tokens.size()) - request.logit_rows;
    for (int row = std::max(0, unwanted); row < sequence.rows; ++row) {
      const float* from = space_.streams.data() + (sequence.first_row + row) * width;
      float* to = space_.streams.data() + std::ssize(logits_) * width;
      if (from != to) std::copy_n(from, width, to);
      logits_.push_back(request.logits + std::int64_t{row - unwanted} * config.vocab_size);
    }
  }
  return static_cast<int>(logits_.size());
}

}  // namespace fathom::engine
