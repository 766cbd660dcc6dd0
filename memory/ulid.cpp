// Ids of conversations: ULIDs, 26 characters that sort by time.
#include "memory/ulid.h"

#include <random>
#include <string_view>

namespace fathom::memory {

std::string make_ulid(std::int64_t unix_ms) {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  constexpr int kTimeDigits = 10;
  constexpr int kRandomDigits = 16;  // 5 bits each
  std::string id(kTimeDigits + kRandomDigits, '0');
  auto time = static_cast<std::uint64_t>(unix_ms);
  for (int i = kTimeDigits - 1; i >= 0; --i, time >>= 5) {
    id[static_cast<std::size_t>(i)] = kDigits[time & 31];
  }
  std::random_device random;
  for (int i = kTimeDigits; i < kTimeDigits + kRandomDigits; ++i) {
    id[static_cast<std::size_t>(i)] = kDigits[random() & 31];
  }
  return id;
}

}  // namespace fathom::memory
