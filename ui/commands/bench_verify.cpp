// Times passes of a few tokens against those of one.
#include "ui/commands/bench_verify.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fathom::ui {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPassesARound = 12;  // of each number of tokens

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double pass_seconds(engine::Session& session, std::span<const engine::Token> tokens) {
  const auto start = Clock::now();
  session.extend(tokens, [](int, std::span<const float>) {});
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

void bench_verify(const engine::Session& filled, std::span<const engine::Token> tokens,
                  const BenchOptions& options) {
  std::vector<int> counts = {1};
  for (const int count : options.verify) {
    if (count != 1) counts.push_back(count);
  }
  std::vector<std::vector<double>> seconds(counts.size());
  engine::Session session = filled.fork();
  std::size_t next = 0;
  for (int pass = -1; pass < options.rounds * kPassesARound; ++pass) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const auto count = static_cast<std::size_t>(counts[i]);
      if (next + count > tokens.size()) next = 0;
      const double took = pass_seconds(session, tokens.subspan(next, count));
      next += count;
      if (pass >= 0) seconds[i].push_back(took);
    }
  }
  const double one = median(seconds[0]);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double took = median(seconds[i]);
    if (options.json) {
      const nlohmann::ordered_json line = {{"verify", counts[i]},
                                           {"d", filled.tokens().size()},
                                           {"passes", seconds[i].size()},
                                           {"seconds", took},
                                           {"relative", took / one}};
      fmt::print("{}\n", line.dump());
    } else {
      fmt::print("{:<14} {:>8} {:>9.2f} ms   {:.2f} times a pass of one\n",
                 fmt::format("verify {}", counts[i]), filled.tokens().size(), took * 1e3,
                 took / one);
    }
  }
  std::fflush(stdout);
}

}  // namespace fathom::ui
