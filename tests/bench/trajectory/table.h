// The lines of the table: what was measured, the limit, and whether it holds.
#pragma once

#include <chrono>
#include <string>

#include "trajectory/plan.h"

namespace fathom::bench {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start);

// Prints one line; remembers whether every limit held.
void line(const std::string& work, const std::string& measured, const std::string& limit,
          bool holds);
bool all_hold();

std::int64_t folder_bytes(const std::string& folder);

// Bytes a second at which all files of a folder are read now, front to back.
double read_bandwidth(const std::string& folder);

// Memory of this process that only it uses.
std::int64_t own_bytes();

// Rows of the published V4-Flash shape at asked.flash tokens, filled with random data.
void flash_shapes(const Asked& asked, const std::string& folder);

}  // namespace fathom::bench
