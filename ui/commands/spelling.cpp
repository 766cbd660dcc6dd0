// Distance of two words in slips (Damerau 1964, as optimal string alignment).
#include "ui/commands/spelling.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace fathom::ui {
namespace {

std::size_t slips(std::string_view a, std::string_view b) {
  // cost[j] of the row for a[..i) and b[..j); the two rows before it see exchanged letters.
  std::vector<std::size_t> cost(b.size() + 1), before(cost), before_that(cost);
  for (std::size_t j = 0; j <= b.size(); ++j) cost[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_that = std::exchange(before, cost);
    cost[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t other = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[j] = std::min({other, before[j] + 1, cost[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[j] = std::min(cost[j], before_that[j - 2] + 1);
      }
    }
  }
  return cost[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t kPrefixMin = 2;
  const auto begins = [&](const std::string& name) { return name.starts_with(word); };
  const auto longer = std::ranges::find_if(known, begins);
  if (word.size() >= kPrefixMin && longer != known.end()) return *longer;

  // At most one slip in three letters: with more, short words resemble anything.
  std::size_t fewest = std::max<std::size_t>(1, word.size() / 3) + 1;
  std::string found;
  for (const std::string& name : known) {
    const std::size_t distance = slips(word, name);
    if (distance >= fewest) continue;
    fewest = distance;
    found = name;
  }
  return found;
}

}  // namespace fathom::ui
