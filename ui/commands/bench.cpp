// `fathom bench`: measures prefill and decode, each after a context of given depth.
#include "ui/commands/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/engine.h"
#include "engine/error.h"
#include "engine/peaks.h"
#include "engine/session.h"
#include "ui/commands/bench_fill.h"
#include "ui/commands/bench_verify.h"
#include "ui/commands/bench_waits.h"
#include "ui/commands/engine_options.h"
#include "ui/commands/model_path.h"

namespace fathom::ui {
namespace {

using engine::Token;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The same ids on every machine: measured speed may depend on which experts they choose.
std::vector<Token> some_tokens(int count, int vocab_size) {
  std::vector<Token> tokens;
  std::uint32_t state = 1;
  for (int i = 0; i < count; ++i) {
    state = state * 1664525U + 1013904223U;
    tokens.push_back(static_cast<Token>((state >> 8) % static_cast<std::uint32_t>(vocab_size)));
  }
  return tokens;
}

struct Measurement {
  int prefill = 0;
  int decode = 0;
  int depth = 0;
  std::vector<double> rates;  // tokens per second of each round, ascending
  engine::DraftCounts drafts = {};

  double median() const {
    const std::size_t half = rates.size() / 2;
    return rates.size() % 2 == 1 ? rates[half] : (rates[half - 1] + rates[half]) / 2;
  }
};

double prefill_rate(engine::Session& session, std::span<const Token> prompt, int count) {
  BenchProgress progress("prefill");
  const auto start = Clock::now();
  session.sync(prompt, [&](int done, int total) { progress.at(done, total); }, {});
  return count / seconds_since(start);
}

// Appends `tokens`; if `greedy`, of those only the first, where the session has no logits yet.
double decode_rate(engine::Session& session, std::span<const Token> tokens, bool greedy) {
  BenchProgress progress("decode");
  const auto start = Clock::now();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::span<const float> logits = session.logits();
    const auto likeliest = std::ranges::max_element(logits);
    session.append(greedy && !logits.empty() ? static_cast<Token>(likeliest - logits.begin())
                                             : tokens[i]);
    progress.at(static_cast<int>(i), static_cast<int>(tokens.size()));
  }
  return static_cast<double>(tokens.size()) / seconds_since(start);
}

// Every round goes on from a fork of the same filled session. One round before, not counted, reads
// the weights from disk and wakes the threads.
Measurement measure(const engine::Session& filled, Measurement asked, const BenchOptions& options,
                    int vocab_size) {
  const auto depth = static_cast<std::size_t>(asked.depth);
  const std::vector<Token> tokens =
      some_tokens(asked.depth + asked.prefill + asked.decode, vocab_size);
  for (int round = -1; round < options.rounds; ++round) {
    engine::Session session = filled.fork();
    const double rate =
        asked.prefill > 0 ? prefill_rate(session, tokens, asked.prefill)
                          : decode_rate(session, std::span(tokens).subspan(depth), options.greedy);
    if (round < 0) continue;
    asked.rates.push_back(rate);
    asked.drafts.drafted += session.drafts().drafted;
    asked.drafts.accepted += session.drafts().accepted;
  }
  std::ranges::sort(asked.rates);
  return asked;
}

void print(const Measurement& m, const std::string& name, const engine::Engine& model,
           const BenchOptions& options) {
  const bool random = is_random_fill(options, m.depth);
  if (options.json) {
    nlohmann::ordered_json line = {{"model", name},
                                   {"kernels", model.kernels()},
                                   {"threads", model.threads()},
                                   {"p", m.prefill},
                                   {"n", m.decode},
                                   {"d", m.depth},
                                   {"rounds", m.rates.size()},
                                   {"tokens_per_s", m.median()},
                                   {"min", m.rates.front()},
                                   {"max", m.rates.back()}};
    if (random) line["fill"] = "random";
    if (m.decode > 0 && options.greedy) {
      line["text"] = "greedy";
      line["drafted"] = m.drafts.drafted;
      line["accepted"] = m.drafts.accepted;
    }
    fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    const std::string test =
        m.prefill > 0 ? fmt::format("prefill {}", m.prefill) : fmt::format("decode {}", m.decode);
    const std::string drafts =
        m.drafts.drafted == 0
            ? ""
            : fmt::format("  {} of {} drafts accepted", m.drafts.accepted, m.drafts.drafted);
    fmt::print("{:<14} {:>8} {:>12.1f} {:>10.1f} {:>10.1f}{}{}\n", test, m.depth, m.median(),
               m.rates.front(), m.rates.back(), drafts, random ? "  after random rows" : "");
  }
  std::fflush(stdout);
}

void check(const BenchOptions& options) {
  if (!options.verify.empty() &&
      (std::ranges::min(options.verify) < 1 || std::ranges::max(options.verify) > kVerifyMax)) {
    throw engine::Error(fmt::format("bench: --verify takes 1 to {} tokens", kVerifyMax));
  }
}

int bench_peaks(const BenchOptions& options) {
  const engine::Peaks peaks = engine::measure_peaks(options.model.threads);
  if (options.json) {
    const nlohmann::ordered_json line = {{"threads", peaks.threads},
                                         {"read_gb_s", peaks.read_gb_s},
                                         {"f32_gflop_s", peaks.f32_gflop_s},
                                         {"int8_gop_s", peaks.int8_gop_s},
                                         {"instructions", peaks.instructions}};
    fmt::print("{}\n", line.dump());
  } else {
    fmt::print("{} threads, {}: reads {:.1f} GB/s, f32 {:.0f} GFLOP/s, 8-bit {:.0f} Gop/s\n",
               peaks.threads, peaks.instructions, peaks.read_gb_s, peaks.f32_gflop_s,
               peaks.int8_gop_s);
  }
  return 0;
}

}  // namespace

int bench(const BenchOptions& options) {
  if (options.peaks) return bench_peaks(options);
  check(options);
  const std::filesystem::path path = find_model(options.model.path);
  const auto model = engine::Engine::load(
      path, engine_options(options.model, options.rounding, options.activations));
  const int vocab_size = model->config().vocab_size;
  if (!options.json) {
    fmt::print("{}, kernels {}, threads {}, {} rounds, tokens/s\n", path.filename().string(),
               model->kernels(), model->threads(), options.rounds);
    fmt::print("{:<14} {:>8} {:>12} {:>10} {:>10}\n", "test", "depth", "median", "min", "max");
  }
  for (const int depth : options.depths) {
    engine::Session filled(model);
    fill_to_depth(filled, some_tokens(depth, vocab_size), options);
    const auto report = [&](Measurement asked) {
      print(measure(filled, std::move(asked), options, vocab_size), path.filename().string(),
            *model, options);
    };
    for (const int count : options.prefill_tokens) {
      if (count == 0) continue;
      report({.prefill = count, .decode = 0, .depth = depth, .rates = {}});
      if (!options.waits) continue;
      print_waits(measure_waits(filled, some_tokens(depth + count, vocab_size)), count, depth,
                  options.json);
    }
    for (const int count : options.decode_tokens) {
      if (count > 0) report({.prefill = 0, .decode = count, .depth = depth, .rates = {}});
    }
    if (!options.verify.empty()) bench_verify(filled, some_tokens(4096, vocab_size), options);
    if (options.every > 0) check_restoring(model, filled, options);
    if (is_random_fill(options, depth)) print_memory_use(path, filled, options);
  }
  return 0;
}

}  // namespace fathom::ui
