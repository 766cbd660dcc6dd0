// Keeps the outcomes of one step within what the context can afford.
#include "agent/outcome_budget.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "tools/shorten.h"

namespace fathom::agent {
namespace {

std::string left_out(std::int64_t lines, std::int64_t tokens) {
  return fmt::format(
      "[… {} lines left out, {} tokens: the outcomes of this step were too long together]", lines,
      tokens);
}

}  // namespace

int outcome_limit(std::span<const int> sizes, int to_come, int tokens_max) {
  std::vector<int> ascending(sizes.begin(), sizes.end());
  std::sort(ascending.begin(), ascending.end());
  int room = tokens_max;
  auto sharers = std::ssize(ascending) + to_come;
  for (const int size : ascending) {
    if (size > room / sharers) break;
    room -= size;
    --sharers;
  }
  return sharers == 0 ? std::numeric_limits<int>::max() : static_cast<int>(room / sharers);
}

int count_tokens(const engine::Tokenizer& tokenizer, std::string_view text) {
  return static_cast<int>(tokenizer.encode(text, engine::AddedTokens::plain).size());
}

std::string shorten(const engine::Tokenizer& tokenizer, const std::string& text, int tokens) {
  const auto count = [&](std::string_view part) { return count_tokens(tokenizer, part); };
  if (count(text) <= tokens) return text;
  // The header always stays: it says what this answers.
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view header = std::string_view(text).substr(0, end);
  const std::string_view body = std::string_view(text).substr(std::min(end + 1, text.size()));
  const int around = count(header) + count(left_out(9'999'999, 9'999'999));
  const tools::Shortened kept = tools::shorten_middle(body, std::max(tokens - around, 0), count);
  return fmt::format("{}\n{}\n{}\n{}", header, kept.head,
                     left_out(kept.lines_left_out, kept.tokens_left_out), kept.tail);
}

}  // namespace fathom::agent
