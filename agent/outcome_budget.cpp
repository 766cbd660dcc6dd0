// Keeps the outcomes of one step within what the context can afford.
#include "agent/outcome_budget.h"

#include <numeric>
#include <vector>

#include <fmt/format.h>

namespace fathom::agent {
namespace {

// Lines with their newline.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::size_t size = end == std::string_view::npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

}  // namespace

int count_tokens(const engine::Tokenizer& tokenizer, std::string_view text) {
  return static_cast<int>(tokenizer.encode(text, engine::AddedTokens::plain).size());
}

std::string shorten(const engine::Tokenizer& tokenizer, const std::string& text, int tokens) {
  if (count_tokens(tokenizer, text) <= tokens) return text;
  const std::vector<std::string_view> lines = lines_of(text);
  std::vector<int> cost;
  for (const std::string_view line : lines) cost.push_back(count_tokens(tokenizer, line));

  std::size_t head = lines.empty() ? 0 : 1;  // the header always stays: it says what this answers
  int used = head == 1 ? cost[0] : 0;
  while (head < lines.size() && used + cost[head] <= tokens * 4 / 10) used += cost[head++];
  std::size_t tail = lines.size();
  while (tail > head && used + cost[tail - 1] <= tokens) used += cost[--tail];

  const auto first = cost.begin() + static_cast<std::ptrdiff_t>(head);
  const auto last = cost.begin() + static_cast<std::ptrdiff_t>(tail);
  std::string kept;
  for (std::size_t i = 0; i < head; ++i) kept += lines[i];
  kept += fmt::format(
      "[… {} lines left out, {} tokens: the outcomes of this step were too long "
      "together]\n",
      tail - head, std::accumulate(first, last, 0));
  for (std::size_t i = tail; i < lines.size(); ++i) kept += lines[i];
  return kept;
}

}  // namespace fathom::agent
