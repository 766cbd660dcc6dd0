// Finds added tokens by narrowing a sorted list byte by byte.
#include "engine/text/added_tokens.h"

#include <algorithm>

namespace fathom::engine {

AddedTokenSet::AddedTokenSet(std::vector<Entry> entries) : entries_(std::move(entries)) {
  // Clang 14, which builds the fuzz targets, has no ranges::unique or equal_range with
  // libstdc++ 12.
  const auto same_text = [](const Entry& a, const Entry& b) { return a.text == b.text; };
  std::ranges::stable_sort(entries_, {}, &Entry::text);
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same_text), entries_.end());
  for (const Entry& entry : entries_) starts_[static_cast<unsigned char>(entry.text[0])] = true;
}

std::optional<AddedTokenSet::Match> AddedTokenSet::find(std::string_view text,
                                                        std::size_t from) const noexcept {
  for (std::size_t at = from; at < text.size(); ++at) {
    if (!starts_[static_cast<unsigned char>(text[at])]) continue;
    if (const auto match = longest_at(text, at)) return match;
  }
  return std::nullopt;
}

// Narrows the sorted texts byte by byte to those that agree with what stands at `at`. The first of
// them, if it is used up, is a match; a longer one may follow.
std::optional<AddedTokenSet::Match> AddedTokenSet::longest_at(std::string_view text,
                                                              std::size_t at) const noexcept {
  std::optional<Match> longest;
  auto first = entries_.begin(), last = entries_.end();
  for (std::size_t size = 0; first != last; ++size) {
    if (first->text.size() == size) {
      longest = Match{at, size, first->token};
      ++first;
    }
    if (at + size == text.size()) break;
    const auto byte_of = [size](const Entry& entry) {
      return static_cast<unsigned char>(entry.text[size]);
    };
    const auto byte = static_cast<unsigned char>(text[at + size]);
    first = std::ranges::lower_bound(first, last, byte, {}, byte_of);
    last = std::ranges::upper_bound(first, last, byte, {}, byte_of);
  }
  return longest;
}

std::optional<Token> AddedTokenSet::exact(std::string_view text) const noexcept {
  const auto found = std::ranges::lower_bound(entries_, text, {}, &Entry::text);
  if (found == entries_.end() || found->text != text) return std::nullopt;
  return found->token;
}

}  // namespace fathom::engine
