// Router and experts of the CPU backend.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/cpu/cpu_backend.h"
#include "engine/weights/table.h"
#include "engine/limits.h"

namespace fathom::engine::cpu {
namespace {

std::size_t size(std::int64_t count) noexcept {
  return static_cast<std::size_t>(count);
}

constexpr int kExpertRows =
    32;  // of a tile: whole blocks, so that a tile can round its own outputs
static_assert(kExpertRows % kBlock == 0);

constexpr int kChosenMax = 64;  // experts of a token, shared one included; V4 has 7
static_assert(kExpertsPerTokenMax < kChosenMax);

double softplus(double x) noexcept {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

float clamp_limit(double limit) noexcept {
  return limit > 0 ? static_cast<float>(limit) : std::numeric_limits<float>::infinity();
}

// The k best keys, best first; ties go to the lower id, as in the oracle. NaN is never better, and
// ids repeat only if nothing is left to choose.
void choose_best(std::span<float> keys, std::span<Route> routes) noexcept {
  for (Route& route : routes) {
    int best = 0;
    for (int e = 1; e < std::ssize(keys); ++e) {
      if (keys[size(e)] > keys[size(best)]) best = e;
    }
    route.expert = best;
    keys[size(best)] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace

//   score[e]  = sqrt(softplus(logits[e]))
//   chosen    = the experts with the largest score[e] + bias[e], or those of the token's table row
//   weight[e] = score[e] / Σ score[chosen] · routed_scaling_factor
//
// The bias balances load. It decides who is chosen but stays out of the weights, or balancing would
// change what the model computes.
void CpuBackend::route(const Routing& routing) noexcept {
  const int experts = config_.n_routed_experts;
  const int chosen = config_.num_experts_per_tok;
  const double factor = config_.routed_scaling_factor;
  // An exponential and a logarithm a score, then one comparison a score and choice.
  for_rows(routing.logits.rows, experts * (40 + chosen), [&](int t, Worker& worker) {
    const std::span<float> scores(worker.scratch.data(), size(experts));
    const std::span<float> keys(worker.scratch.data() + experts, size(experts));
    const auto routes = routing.routes.subspan(size(t) * size(chosen), size(chosen));
    for (int e = 0; e < experts; ++e) {
      scores[size(e)] = static_cast<float>(std::sqrt(softplus(routing.logits.row(t)[e])));
    }
    if (routing.experts != nullptr) {
      for (int i = 0; i < chosen; ++i) {
        routes[size(i)].expert =
            static_cast<int>(table_entry(*routing.experts, routing.tokens[size(t)], i));
      }
    } else {
      for (int e = 0; e < experts; ++e) keys[size(e)] = scores[size(e)] + routing.bias[size(e)];
      choose_best(keys, routes);
    }
    double total = 0;
    for (const Route& route : routes) total += scores[size(route.expert)];
    if (!config_.norm_topk_prob) total = 1;
    for (Route& route : routes)
      route.weight = static_cast<float>(scores[size(route.expert)] / total * factor);
  });
}

// Sorts tokens by expert: every expert's tokens become neighbours in the buffers, so that its
// weights are unpacked once. The shared expert is the last group and takes all tokens.
void CpuBackend::group_by_expert(const Mixture& mixture) noexcept {
  const int chosen = config_.num_experts_per_tok;
  std::ranges::fill(expert_counts_, 0);
  for (const Route& route : mixture.routes) ++expert_counts_[size(route.expert)];

  groups_.clear();
  int first = 0;
  const float limit = clamp_limit(config_.swiglu_limit);
  for (int e = 0; e < config_.n_routed_experts; ++e) {
    int& count = expert_counts_[size(e)];
    if (count > 0) groups_.push_back({&mixture.weights->experts[size(e)], e, first, count, limit});
    first += std::exchange(count, first);  // from here on the next free slot of the expert
  }
  for (std::size_t i = 0; i < mixture.routes.size(); ++i) {
    const int slot = expert_counts_[size(mixture.routes[i].expert)]++;
    slots_[i] = slot;
    slot_tokens_[size(slot)] = static_cast<int>(i) / chosen;
  }
  groups_.push_back({&mixture.weights->shared, config_.n_routed_experts, first, mixture.x.rows,
                     clamp_limit(config_.swiglu_limit_shared)});
  for (int t = 0; t < mixture.x.rows; ++t) slot_tokens_[size(first + t)] = t;
}

// Rounds x to the forms that any of the groups wants, once a token however many experts read it.
void CpuBackend::round_expert_inputs(ConstMatrix x) noexcept {
  const int slots = groups_.back().first + groups_.back().tokens;
  for (int slot = 0; slot < slots; ++slot) {
    inputs_.plain[size(slot)] = x.row(slot_tokens_[size(slot)]);
  }
  std::byte* rounded = rounded_.data();
  for (const ActivationForm form : {ActivationForm::int8, ActivationForm::bf16}) {
    const auto wants = [&](const Group& group) {
      return kernels_.form(group.weights->w1.format) == form ||
             kernels_.form(group.weights->w3.format) == form;
    };
    if (std::ranges::none_of(groups_, wants)) continue;
    const std::int64_t bytes = rounded_bytes(form, x.width);
    round_rows(form, x, rounded);
    for (int slot = 0; slot < slots; ++slot) {
      inputs_.rounded(form)[size(slot)] = rounded + slot_tokens_[size(slot)] * bytes;
    }
    rounded += x.rows * bytes;
  }
}

void CpuBackend::run_gate_and_up(std::span<const Group> groups, std::int64_t work) noexcept {
  const std::int64_t width = config_.moe_intermediate_size;
  const std::int64_t rounded_width = rounded_bytes(ActivationForm::bf16, width);
  tiles_.clear();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    add_tiles(static_cast<int>(g), width, kExpertRows,
              std::int64_t{2} * groups[g].tokens * config_.hidden_size, task_work(work));
  }
  for_tiles(work, [&](const Tile& tile, Worker& worker) {
    const Group& group = groups[size(tile.group)];
    MultiplyTask task{.weights = &group.weights->w1,
                      .first_row = tile.first,
                      .rows = tile.rows,
                      .tokens = group.tokens,
                      .y = gate_.data() + group.first * width + tile.first,
                      .y_stride = width,
                      .scratch = worker.scratch.data()};
    multiply_rows(task, group.first);
    task.weights = &group.weights->w3;
    task.y = up_.data() + group.first * width + tile.first;
    multiply_rows(task, group.first);
    const ActivationForm form = kernels_.form(group.weights->w2.format);
    for (int slot = group.first; slot < group.first + group.tokens; ++slot) {
      float* gate = gate_.data() + slot * width + tile.first;
      kernels_.swiglu(gate, up_.data() + slot * width + tile.first, tile.rows, group.limit);
      if (form == ActivationForm::f32) continue;
      kernels_.round(
          form, gate, tile.rows,
          gate_rounded_.data() + slot * rounded_width + rounded_offset(form, tile.first));
    }
  });
}

void CpuBackend::run_down(std::span<const Group> groups, std::int64_t work) noexcept {
  const std::int64_t width = config_.hidden_size;
  const std::int64_t rounded_width =
      rounded_bytes(ActivationForm::bf16, config_.moe_intermediate_size);
  tiles_.clear();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Group& group = groups[g];
    for (int slot = group.first; slot < group.first + group.tokens; ++slot) {
      const std::byte* rounded = gate_rounded_.data() + slot * rounded_width;
      inputs_.plain[size(slot)] = gate_.data() + slot * std::int64_t{config_.moe_intermediate_size};
      inputs_.int8[size(slot)] = rounded;
      inputs_.bf16[size(slot)] = rounded;
    }
    add_tiles(static_cast<int>(g), width, kExpertRows,
              static_cast<std::int64_t>(group.tokens) * config_.moe_intermediate_size,
              task_work(work));
  }
  for_tiles(work, [&](const Tile& tile, Worker& worker) {
    const Group& group = groups[size(tile.group)];
    multiply_rows({.weights = &group.weights->w2,
                   .first_row = tile.first,
                   .rows = tile.rows,
                   .tokens = group.tokens,
                   .y = down_.data() + group.first * width + tile.first,
                   .y_stride = width,
                   .scratch = worker.scratch.data()},
                  group.first);
  });
}

void CpuBackend::run_groups(std::span<const Group> groups) noexcept {
  std::int64_t tokens = 0;
  for (const Group& group : groups) tokens += group.tokens;
  const std::int64_t work = tokens * config_.hidden_size * config_.moe_intermediate_size;
  run_gate_and_up(groups, 2 * work);
  run_down(groups, work);
}

// Groups as their weights come, the shared expert before all of them.
void CpuBackend::run_as_they_come(ExpertSource& source) noexcept {
  run_groups(std::span(groups_).last(1));
  for (auto come = source.next(); !come.empty(); come = source.next()) {
    arrived_.clear();
    for (const ExpertSource::Arrival& arrival : come) {
      Group group = *std::ranges::lower_bound(groups_, arrival.expert, {}, &Group::expert);
      assert(group.expert == arrival.expert);
      group.weights = arrival.weights;
      arrived_.push_back(group);
    }
    run_groups(arrived_);
  }
}

void CpuBackend::run_experts(const Mixture& mixture) noexcept {
  const int chosen = config_.num_experts_per_tok;
  const int rows = mixture.x.rows;
  const std::int64_t width = config_.hidden_size;
  assert(std::ssize(mixture.routes) == rows * chosen);
  group_by_expert(mixture);
  round_expert_inputs(mixture.x);
  if (mixture.source == nullptr) {
    run_groups(groups_);
  } else {
    run_as_they_come(*mixture.source);
  }
  assert(chosen < kChosenMax);
  for_rows(rows, width * (chosen + 1), [&](int t, Worker&) {
    std::array<const float*, kChosenMax> outputs;
    std::array<float, kChosenMax> weights;
    for (int i = 0; i < chosen; ++i) {
      const auto route = size(t * chosen + i);
      outputs[size(i)] = down_.data() + slots_[route] * width;
      weights[size(i)] = mixture.routes[route].weight;
    }
    outputs[size(chosen)] = down_.data() + (rows * chosen + t) * width;  // the shared expert
    weights[size(chosen)] = 1;
    kernels_.combine(outputs.data(), weights.data(), chosen + 1, config_.hidden_size,
                     mixture.y.row(t));
  });
}

}  // namespace fathom::engine::cpu
