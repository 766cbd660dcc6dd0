// How `fathom bench` reaches a depth, and what it says about memory and restoring there.
#pragma once

#include <chrono>
#include <filesystem>
#include <span>
#include <string>

#include "engine/engine.h"
#include "engine/session.h"
#include "ui/commands/bench.h"

namespace fathom::ui {

// Whether the context of `depth` tokens is random rows instead of computed ones.
bool is_random_fill(const BenchOptions& options, int depth) noexcept;

// Gives `session` the context `tokens`. With options.every a computed one prints its speed.
void fill_to_depth(engine::Session& session, std::span<const engine::Token> tokens,
                   const BenchOptions& options);

// Saves and restores `filled` in a temporary file, then decodes the same tokens on both; says
// whether their logits are equal. Throws Error if they are not.
void check_restoring(const std::shared_ptr<const engine::Engine>& model,
                     const engine::Session& filled, const BenchOptions& options);

// Resident memory of this process beside what `model info` plans for the context.
void print_memory_use(const std::filesystem::path& model, const engine::Session& filled,
                      const BenchOptions& options);

// One line on a terminal that says what runs; nothing when standard error is not one.
class BenchProgress {
 public:
  explicit BenchProgress(std::string what);
  ~BenchProgress();
  BenchProgress(const BenchProgress&) = delete;
  BenchProgress& operator=(const BenchProgress&) = delete;

  void at(int done, int total);

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  bool shown_;
  bool written_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

}  // namespace fathom::ui
