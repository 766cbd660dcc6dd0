// What people wait for in a prefill: words about its progress, and its end once they stop it.
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

}  // namespace fathom::ui
