// What people wait for: words about a prefill's progress, its end once they stop it, and a token
// while somebody else's prompt is read.
#pragma once

#include <span>
#include <string>

#include "engine/session.h"

namespace fathom::ui {

struct BenchWaits {
  double between_reports_s = 0;  // longest; its begin and end count as reports
  double to_stop_s = 0;          // longest from a request until the session is back
  int stops = 0;                 // requests that came in time
};

// Prefills `prompt` on forks of `filled`: once to its end, then stopped at times spread over that.
BenchWaits measure_waits(const engine::Session& filled, std::span<const engine::Token> prompt);

void print_waits(const BenchWaits& waits, int count, int depth, bool json);

// Seconds a token.
struct TokenWaits {
  double alone = 0;   // the median, of a session that has the cores to itself
  double median = 0;  // these beside another session's prompts
  double p95 = 0;
  double longest = 0;
};

// Appends `tokens` to forks of `filled`: alone, then while another session reads `prompt`, again
// and again.
TokenWaits measure_token_waits(const engine::Session& filled, std::span<const engine::Token> tokens,
                               std::span<const engine::Token> prompt);

void print_token_waits(const TokenWaits& waits, int count, int depth, bool json);

}  // namespace fathom::ui
