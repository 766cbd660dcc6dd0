// Lane: a pass of several sessions' tokens on its way through the layers, which may pause between
// any two of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/pass.h"
#include "engine/model/workspace.h"
#include "engine/scheduling/job.h"

namespace fathom::engine {

// What every pass of an engine works with.
struct Compute {
  const ModelWeights& weights;
  const Rope& plain_rope;
  const Rope& long_rope;
  Backend& backend;
  ExpertCache* experts = nullptr;  // null: all experts are in memory

  Pass pass(Workspace& space, std::span<const Sequence> sequences,
            std::span<const Token> tokens) const noexcept {
    return {.config = weights.config,
            .backend = backend,
            .space = space,
            .sequences = sequences,
            .tokens = tokens,
            .plain_rope = plain_rope,
            .long_rope = long_rope,
            .experts = experts};
  }
};

// Used by one thread at a time.
class Lane {
 public:
  // `compute` outlives it. `rows_max`: of a pass.
  Lane(const Compute& compute, int rows_max);

  std::span<Job* const> jobs() const noexcept {
    return {jobs_.data(), static_cast<std::size_t>(count_)};
  }
  bool active() const noexcept { return count_ > 0; }
  bool full() const noexcept { return count_ == kSequencesMax; }
  int rows() const noexcept { return static_cast<int>(tokens_.size()); }

  // The job's first `rows` tokens join a pass that has not begun.
  void add(Job& job, int rows);
  // A job's rows leave the pass before its next layer. The fixed part of the job's cache is void
  // for the layers to come.
  void remove(int index);
  void clear() noexcept;

  // Runs the next layer; with the last one hands out what the jobs want, and returns true. Throws
  // std::bad_alloc if memory for the pass is short; it has then not begun. Throws Error as
  // forward.h says. If every job is stopped while the layer waits for experts, its rows are void.
  bool run_layer();
  int layers_done() const noexcept { return layer_; }

  // Seconds of the whole pass, of its slowest layer.
  double seconds() const noexcept { return seconds_; }
  double slowest_layer() const noexcept { return slowest_layer_; }

  std::int64_t bytes() const noexcept { return space_.bytes(); }

 private:
  void begin();
  void end();
  void copy_streams(const Job& job, const Sequence& sequence);
  int gather_logit_rows();
  void expect_next_tokens(Pass& pass) const;
  bool all_stopped() const noexcept;
  Pass pass() noexcept;

  const Compute& compute_;
  Workspace space_;
  std::array<Job*, kSequencesMax> jobs_{};
  std::array<Sequence, kSequencesMax> sequences_{};
  int count_ = 0;
  std::vector<Token> tokens_;   // of all sequences
  std::vector<float*> logits_;  // where the logits of gathered rows go
  bool begun_ = false;
  int layer_ = 0;  // the next one
  double seconds_ = 0;
  double slowest_layer_ = 0;
};

}  // namespace fathom::engine
