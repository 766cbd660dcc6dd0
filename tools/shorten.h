// Cuts texts to a number of tokens at line ends, and says exactly what was left out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

using TokenCounter = std::function<int(std::string_view text)>;

// A third of the bytes: for use without a model.
int estimate_tokens(std::string_view text);

// What was kept of a text, and how much was not.
struct Shortened {
  std::string head = {};
  std::string tail = {};  // empty if only the head is kept, or everything
  std::int64_t lines_left_out = 0;
  std::int64_t tokens_left_out = 0;

  bool whole() const noexcept { return lines_left_out == 0 && tokens_left_out == 0; }
};

// The first 40 % and the last 60 % of the tokens, for commands: what failed stands at the end.
// Lines beyond 1000 characters are cut in a text that is too long. Without a final newline, both.
Shortened shorten_middle(std::string_view text, int tokens_max, const TokenCounter& count_tokens);

// How many of the first lines fit into the tokens: always at least one, if there is one.
int lines_that_fit(const std::vector<std::string>& lines, int tokens_max,
                   const TokenCounter& count_tokens);

// "[… 4,120 lines left out, 61,000 tokens. Everything: read_file out/17.txt]"
std::string left_out_note(std::int64_t lines, std::int64_t tokens, std::string_view kept_in);

}  // namespace fathom::tools
