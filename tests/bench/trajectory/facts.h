// What is known of a trajectory that was computed once, so that it can be measured often.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>

namespace fathom::bench {

struct Facts {
  std::string of = {};                     // model's fingerprint, tokens and turns
  std::map<int, std::uint64_t> bits = {};  // of the logits after so many tokens
  int turns = 0;                           // that are done
  int wrong_turns = 0;                     // of them, that prefilled other than their new tokens
  double seconds = 0;                      // of all turns
  int rewound = 0;  // tokens computed again, at most, to go back to places of long ago
};

// A checksum of logits: equal ones have equal bits, but for one chance in 2^64.
std::uint64_t bits_of(std::span<const float> logits);

// Empty if the file is missing or tells of something else.
std::optional<Facts> read_facts(const std::filesystem::path& file, const std::string& of);
void write_facts(const std::filesystem::path& file, const Facts& facts);

}  // namespace fathom::bench
