// Lengths that follow from the trajectory's own.
#include "trajectory/plan.h"

#include <algorithm>
#include <random>

#include "engine/cache/kv_cache.h"

namespace fathom::bench {

bool Asked::wants(std::string_view row) const {
  return rows.empty() || std::ranges::find(rows, row) != rows.end();
}

Plan::Plan(const Asked& asked)
    : end(asked.tokens), restarted(end + 8), overheads(end + 2 * kOverheads) {
  using engine::kPageTokens;
  aligned = (overheads / kPageTokens + 1) * kPageTokens;
  steps_end = step_end(kSteps);
  killed_end = steps_end + kTurnTokens;
  std::mt19937 random(2);
  for (int i = 0; i < 8; ++i) older.push_back(1 + static_cast<int>(random() % unsigned(end - 1)));
}

std::vector<int> Plan::checked() const {
  std::vector<int> lengths = {end, restarted, overheads, aligned + 1, steps_end, killed_end};
  for (int step = 1; step <= kSteps; ++step) lengths.push_back(step_end(step) + 1);
  for (const int place : older) lengths.push_back(place + 1);
  std::ranges::sort(lengths);
  const auto repeated = std::ranges::unique(lengths);
  lengths.erase(repeated.begin(), repeated.end());
  return lengths;
}

std::vector<engine::Token> some_tokens(int count, int vocab) {
  std::mt19937 random(1);
  std::vector<engine::Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens,
                        [&] { return static_cast<engine::Token>(random() % unsigned(vocab)); });
  return tokens;
}

}  // namespace fathom::bench
