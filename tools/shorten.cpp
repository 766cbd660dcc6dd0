// Cuts texts to a number of tokens.
#include "tools/shorten.h"

#include <algorithm>

#include <fmt/format.h>

#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr double kHeadShare = 0.4;
constexpr int kLineCharactersMax = 1000;

}  // namespace

int estimate_tokens(std::string_view text) {
  return static_cast<int>((text.size() + 2) / 3);
}

int lines_that_fit(const std::vector<std::string>& lines, int tokens_max,
                   const TokenCounter& count_tokens) {
  int tokens = 0;
  int fitting = 0;
  for (const std::string& line : lines) {
    tokens += count_tokens(line + "\n");
    if (tokens > tokens_max && fitting > 0) break;
    ++fitting;
  }
  return fitting;
}

Shortened shorten_middle(std::string_view text, int tokens_max, const TokenCounter& count_tokens) {
  // A token is at least a byte, so a text this short needs no counting.
  if (text.size() <= static_cast<std::size_t>(tokens_max) || count_tokens(text) <= tokens_max) {
    return {.head = std::string(text)};
  }
  const std::vector<std::string_view> lines = split_lines(text);
  const auto shown = [&](std::size_t i) { return cut_line(lines[i], kLineCharactersMax); };
  const auto cost = [&](std::size_t i) { return count_tokens(shown(i) + "\n"); };

  const int head_max = static_cast<int>(tokens_max * kHeadShare);
  std::size_t head = 0;
  for (int tokens = 0; head < lines.size(); ++head) {
    tokens += cost(head);
    if (tokens > head_max) break;
  }
  std::size_t tail = lines.size();
  for (int tokens = 0; tail > head; --tail) {
    tokens += cost(tail - 1);
    if (tokens > tokens_max - head_max) break;
  }

  Shortened shortened;
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < head; ++i) kept.push_back(shown(i));
  shortened.head = join(kept, "\n");
  kept.clear();
  for (std::size_t i = tail; i < lines.size(); ++i) kept.push_back(shown(i));
  shortened.tail = join(kept, "\n");
  shortened.lines_left_out = static_cast<std::int64_t>(tail - head);
  if (head < tail) {
    const char* begin = lines[head].data();
    const char* end = lines[tail - 1].data() + lines[tail - 1].size();
    shortened.tokens_left_out =
        count_tokens(std::string_view(begin, static_cast<std::size_t>(end - begin)));
  } else {
    // Only parts of long lines are gone.
    const int kept_tokens = count_tokens(shortened.head) + count_tokens(shortened.tail);
    shortened.tokens_left_out = std::max(1, count_tokens(text) - kept_tokens);
  }
  return shortened;
}

std::string left_out_note(std::int64_t lines, std::int64_t tokens, std::string_view kept_in) {
  return fmt::format("[… {} left out, {}. Everything: read_file {}]", count_of(lines, "line"),
                     count_of(tokens, "token"), kept_in);
}

}  // namespace fathom::tools
