// Finds added tokens (`<think>`, `｜DSML｜`) in text, leftmost first, the longest at each place.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace fathom::engine {

class AddedTokenSet {
 public:
  struct Entry {
    std::string text;  // not empty
    Token token = 0;
  };
  struct Match {
    std::size_t begin = 0;
    std::size_t size = 0;
    Token token = 0;
  };

  // Of a text given twice the first counts.
  explicit AddedTokenSet(std::vector<Entry> entries);

  // The first match in text[from…].
  std::optional<Match> find(std::string_view text, std::size_t from) const noexcept;

  // The token whose text is `text`.
  std::optional<Token> exact(std::string_view text) const noexcept;

 private:
  std::optional<Match> longest_at(std::string_view text, std::size_t at) const noexcept;

  std::vector<Entry> entries_;                         // sorted by text
  std::vector<bool> starts_ = std::vector<bool>(256);  // first bytes of all texts
};

}  // namespace fathom::engine
