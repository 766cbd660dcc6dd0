// `fathom bench`: measures prefill and decode, each after a context of given depth.
#include "ui/commands/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <future>
#include <latch>
#include <optional>
#include <span>
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

constexpr int kPromptBeside = 2048;  // tokens that another session reads while one decodes

using engine::Token;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The same ids on every machine: measured speed may depend on which experts they choose. Others for
// every session.
std::vector<Token> some_tokens(int count, int vocab_size, int session = 0) {
  std::vector<Token> tokens;
  std::uint32_t state = 1U + static_cast<std::uint32_t>(session);
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
  std::optional<engine::ExpertReads> reads = {};  // of all rounds
  double seconds = 0;                             // likewise

  double median() const {
    const std::size_t half = rates.size() / 2;
    return rates.size() % 2 == 1 ? rates[half] : (rates[half - 1] + rates[half]) / 2;
  }
};

// One session's work: `count` tokens after those that it was filled with.
struct Work {
  engine::Session session;
  std::vector<Token> tokens;  // the whole timeline
  int count = 0;
  bool greedy = false;  // decodes the model's own likeliest tokens, as soon as it has logits
};

void prefill(Work& work, bool shows_progress) {
  if (!shows_progress) {
    work.session.sync(work.tokens, {}, {});
    return;
  }
  BenchProgress progress("prefill");
  work.session.sync(work.tokens, [&](int done, int total) { progress.at(done, total); }, {});
}

void decode(Work& work, bool shows_progress) {
  std::optional<BenchProgress> progress;
  if (shows_progress) progress.emplace("decode");
  const auto tokens = std::span(work.tokens).last(static_cast<std::size_t>(work.count));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::span<const float> logits = work.session.logits();
    const auto likeliest = std::ranges::max_element(logits);
    work.session.append(work.greedy && !logits.empty()
                            ? static_cast<Token>(likeliest - logits.begin())
                            : tokens[i]);
    if (progress) progress->at(static_cast<int>(i), work.count);
  }
}

// Tokens per second of all sessions. The first one is the calling thread's.
double rate(std::span<Work> works, void (*run)(Work& work, bool shows_progress)) {
  std::latch ready(std::ssize(works));
  std::vector<std::future<void>> others;
  for (std::size_t i = 1; i < works.size(); ++i) {
    others.push_back(std::async(std::launch::async, [&, i] {
      ready.arrive_and_wait();
      run(works[i], /*shows_progress=*/false);
    }));
  }
  ready.arrive_and_wait();
  const auto start = Clock::now();
  run(works.front(), /*shows_progress=*/true);
  for (std::future<void>& other : others) other.get();
  return static_cast<double>(std::ssize(works) * works.front().count) / seconds_since(start);
}

// Every round goes on from forks of the same filled session. One round before, not counted, reads
// the weights from disk and wakes the threads.
Measurement measure(const engine::Engine& model, const engine::Session& filled, Measurement asked,
                    const BenchOptions& options) {
  const int vocab_size = model.config().vocab_size;
  for (int round = -1; round < options.rounds; ++round) {
    if (round == 0) asked.reads = expert_reads(model);
    const int count = asked.prefill + asked.decode;
    std::vector<Work> works;
    for (int i = 0; i < options.sessions; ++i) {
      std::vector<Token> tokens(filled.tokens().begin(), filled.tokens().end());
      const std::vector<Token> own = some_tokens(asked.depth + count, vocab_size, i);
      tokens.insert(tokens.end(), own.begin() + asked.depth, own.end());
      works.push_back({filled.fork(), std::move(tokens), count, options.greedy});
    }
    const double found = rate(works, asked.prefill > 0 ? prefill : decode);
    if (round < 0) continue;
    asked.rates.push_back(found);
    asked.seconds += options.sessions * count / found;
    for (const Work& work : works) {
      asked.drafts.drafted += work.session.drafts().drafted;
      asked.drafts.accepted += work.session.drafts().accepted;
    }
  }
  if (asked.reads) asked.reads = *expert_reads(model) - *asked.reads;
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
    if (options.sessions > 1) line["sessions"] = options.sessions;
    if (m.decode > 0 && options.greedy) {
      line["text"] = "greedy";
      line["drafted"] = m.drafts.drafted;
      line["accepted"] = m.drafts.accepted;
    }
    if (m.reads) {
      line["experts"] = {{"hit_rate", m.reads->hit_rate()},
                         {"needed", m.reads->needed},
                         {"guesses", m.reads->guesses},
                         {"guesses_right", m.reads->guesses_right},
                         {"read_bytes", m.reads->bytes},
                         {"read_mb_s", static_cast<double>(m.reads->bytes) / m.seconds / 1e6},
                         {"waited_share", m.reads->waited_s / m.seconds}};
    }
    fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    std::string test =
        m.prefill > 0 ? fmt::format("prefill {}", m.prefill) : fmt::format("decode {}", m.decode);
    if (options.sessions > 1) test += fmt::format(" x {}", options.sessions);
    const std::string drafts =
        m.drafts.drafted == 0
            ? ""
            : fmt::format("  {} of {} drafts accepted", m.drafts.accepted, m.drafts.drafted);
    fmt::print("{:<14} {:>8} {:>12.1f} {:>10.1f} {:>10.1f}{}{}\n", test, m.depth, m.median(),
               m.rates.front(), m.rates.back(), drafts, random ? "  after random rows" : "");
    if (m.reads) {
      fmt::print(
          "{:<14} {:>8} {:.1f} % of experts were in memory; {:.0f} MB/s read, {:.0f} % of the "
          "time waited for them\n",
          "  experts", m.depth, 100 * m.reads->hit_rate(),
          static_cast<double>(m.reads->bytes) / m.seconds / 1e6,
          100 * m.reads->waited_s / m.seconds);
    }
  }
  std::fflush(stdout);
}

int bench_peaks(const BenchOptions& options) {
  const engine::Peaks peaks = engine::measure_peaks(options.model.threads);
  if (options.json) {
    const nlohmann::ordered_json line = {
        {"threads", peaks.threads},           {"read_gb_s", peaks.read_gb_s},
        {"f32_gflop_s", peaks.f32_gflop_s},   {"int8_gop_s", peaks.int8_gop_s},
        {"bf16_gflop_s", peaks.bf16_gflop_s}, {"instructions", peaks.instructions}};
    fmt::print("{}\n", line.dump());
  } else {
    fmt::print(
        "{} threads, {}: reads {:.1f} GB/s, f32 {:.0f} GFLOP/s, 8-bit {:.0f} Gop/s{}\n",
        peaks.threads, peaks.instructions, peaks.read_gb_s, peaks.f32_gflop_s, peaks.int8_gop_s,
        peaks.bf16_gflop_s > 0 ? fmt::format(", bf16 {:.0f} GFLOP/s", peaks.bf16_gflop_s) : "");
  }
  return 0;
}

}  // namespace

int bench(const BenchOptions& options) {
  if (options.peaks) return bench_peaks(options);
  const std::filesystem::path path = find_model(options.model.path);
  engine::EngineOptions loading =
      engine_options(options.model, options.rounding, options.activations);
  loading.scheduling.sessions_max = std::max(loading.scheduling.sessions_max, options.sessions);
  const auto model = load_engine(path, loading, options.model);
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
      print(measure(*model, filled, std::move(asked), options), path.filename().string(), *model,
            options);
    };
    for (const int count : options.prefill_tokens) {
      if (count == 0) continue;
      report({.prefill = count, .decode = 0, .depth = depth, .rates = {}});
      if (!options.waits) continue;
      print_waits(measure_waits(filled, some_tokens(depth + count, vocab_size)), count, depth,
                  options.json);
    }
    for (const int count : options.decode_tokens) {
      if (count == 0) continue;
      report({.prefill = 0, .decode = count, .depth = depth, .rates = {}});
      if (!options.waits) continue;
      print_token_waits(measure_token_waits(filled, some_tokens(count, vocab_size),
                                            some_tokens(depth + kPromptBeside, vocab_size)),
                        count, depth, options.json);
    }
    if (!options.verify.empty()) bench_verify(filled, some_tokens(4096, vocab_size), options);
    if (options.every > 0) check_restoring(model, filled, options);
    if (is_random_fill(options, depth)) print_memory_use(path, filled, options);
  }
  return 0;
}

}  // namespace fathom::ui
