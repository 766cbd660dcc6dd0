// Prints the table and measures what its limits are made of.
#include "trajectory/table.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace fathom::bench {
namespace {

bool every_limit_held = true;

}  // namespace

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void line(const std::string& work, const std::string& measured, const std::string& limit,
          bool holds) {
  every_limit_held = every_limit_held && holds;
  fmt::print("| {} | {} | {} | {} |\n", work, measured, limit, holds ? "holds" : "MISSED");
  std::fflush(stdout);
}

bool all_hold() {
  return every_limit_held;
}

std::int64_t folder_bytes(const std::string& folder) {
  std::int64_t total = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) total += static_cast<std::int64_t>(entry.file_size());
  }
  return total;
}

double read_bandwidth(const std::string& folder) {
  std::vector<char> buffer(1 << 20);
  std::int64_t total = 0;
  const auto start = Clock::now();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    for (ssize_t count = 1; count > 0;) {
      count = ::read(file, buffer.data(), buffer.size());
      total += std::max<ssize_t>(count, 0);
    }
    ::close(file);
  }
  return static_cast<double>(total) / seconds_since(start);
}

std::int64_t own_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0, shared = 0;
  file >> size >> resident >> shared;
  return (resident - shared) * ::sysconf(_SC_PAGESIZE);
}

}  // namespace fathom::bench
