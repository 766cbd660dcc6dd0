// Facts as lines of text: what they are of, the turns, then one line for each checksum.
#include "trajectory/facts.h"

#include <fstream>
#include <stdexcept>

#include "engine/cache/checksum.h"

namespace fathom::bench {

std::uint64_t bits_of(std::span<const float> logits) {
  return engine::sum_of(std::as_bytes(logits));
}

std::optional<Facts> read_facts(const std::filesystem::path& file, const std::string& of) {
  std::ifstream in(file);
  Facts facts;
  if (!std::getline(in, facts.of) || facts.of != of) return std::nullopt;
  if (!(in >> facts.turns >> facts.wrong_turns >> facts.seconds >> facts.rewound))
    return std::nullopt;
  int tokens = 0;
  for (std::uint64_t bits = 0; in >> tokens >> bits;) facts.bits[tokens] = bits;
  return facts;
}

void write_facts(const std::filesystem::path& file, const Facts& facts) {
  std::ofstream out(file, std::ios::trunc);
  out << facts.of << "\n";
  out << facts.turns << " " << facts.wrong_turns << " " << facts.seconds << " " << facts.rewound
      << "\n";
  for (const auto& [tokens, bits] : facts.bits) out << tokens << " " << bits << "\n";
  if (!out.flush()) throw std::runtime_error("cannot write " + file.string());
}

}  // namespace fathom::bench
