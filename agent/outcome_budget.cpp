// Keeps the outcomes of one step within what the context can afford.
#include "agent/outcome_budget.h"

#include <algorithm>

#include <fmt/format.h>

#include "tools/shorten.h"

namespace fathom::agent {

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
  const tools::Shortened kept =
      tools::shorten_middle(body, std::max(tokens - count(header), 0), count);
  return fmt::format(
      "{}\n{}\n[… {} lines left out, {} tokens: the outcomes of this step were too long together]"
      "\n{}",
      header, kept.head, kept.lines_left_out, kept.tokens_left_out, kept.tail);
}

}  // namespace fathom::agent
