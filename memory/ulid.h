// Ids of conversations: ULIDs, 26 characters that sort by time.
#pragma once

#include <cstdint>
#include <string>

namespace fathom::memory {

// 48 bits of Unix time in milliseconds, then 80 random bits, in Crockford's base 32.
std::string make_ulid(std::int64_t unix_ms);

}  // namespace fathom::memory
