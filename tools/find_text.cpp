// Finds quoted text by looking at both sides through the same simplification.
#include "tools/find_text.h"

#include <algorithm>
#include <array>
#include <climits>
#include <unordered_map>

#include "tools/text.h"

namespace fathom::tools {
namespace {

// What a simplified view overlooks.
struct Simplify {
  bool trailing_blanks = false;
  int tab_width = 0;  // 0: tabs at line beginnings stay
};

// A simplified text, and where in the original each of its bytes begins.
struct View {
  std::string text;
  std::vector<std::size_t> origin;  // one more than text has: the end

  void add(char c, std::size_t from) {
    text += c;
    origin.push_back(from);
  }
};

// Drops the "\r" of line ends, and what `simplify` says. A line end counts as beginning at its
// "\r", so that what is replaced in front of it leaves it whole.
View view_of(std::string_view text, const Simplify& simplify) {
  View view;
  std::size_t line_begin = 0;
  for (const std::string_view line : split_lines_with_ends(text)) {
    std::string_view content = line;
    if (content.ends_with('\n')) content.remove_suffix(1);
    const bool ended = content.size() < line.size();
    if (ended && content.ends_with('\r')) content.remove_suffix(1);
    const std::size_t end_of_line = line_begin + content.size();
    if (simplify.trailing_blanks) {
      const auto last = content.find_last_not_of(" \t");
      content = content.substr(0, last == std::string_view::npos ? 0 : last + 1);
    }
    bool indentation = simplify.tab_width > 0;
    for (std::size_t i = 0; i < content.size(); ++i) {
      indentation = indentation && (content[i] == '\t' || content[i] == ' ');
      const int copies = indentation && content[i] == '\t' ? simplify.tab_width : 1;
      for (int copy = 0; copy < copies; ++copy) {
        view.add(indentation ? ' ' : content[i], line_begin + i);
      }
    }
    if (ended) view.add('\n', end_of_line);
    line_begin += line.size();
  }
  view.origin.push_back(text.size());
  return view;
}

std::vector<Span> occurrences(std::string_view text, std::string_view wanted) {
  std::vector<Span> places;
  for (auto at = text.find(wanted); at != std::string_view::npos; at = text.find(wanted, at + 1)) {
    places.push_back({at, at + wanted.size()});
  }
  return places;
}

// Places in the original; those that begin or end inside a tab are none.
std::vector<Span> occurrences(const View& view, const View& wanted) {
  std::vector<Span> places;
  if (wanted.text.empty()) return places;
  for (const Span place : occurrences(view.text, wanted.text)) {
    const auto inside = [&](std::size_t at) {
      return at > 0 && at < view.text.size() && view.origin[at] == view.origin[at - 1];
    };
    if (inside(place.begin) || inside(place.end)) continue;
    places.push_back({view.origin[place.begin], view.origin[place.end]});
  }
  return places;
}

bool has_crlf(std::string_view text) {
  return text.find("\r\n") != std::string_view::npos;
}

// Spaces at line beginnings become tabs where the replaced text has tabs, and the other way round.
std::string with_indentation_of(std::string_view replaced, std::string_view text, int tab_width) {
  const bool tabs = replaced.starts_with('\t') || replaced.find("\n\t") != std::string_view::npos;
  std::string converted;
  for (const std::string_view line : split_lines_with_ends(text)) {
    const auto indentation = std::min(line.find_first_not_of(" \t"), line.size());
    int columns = 0;
    for (const char c : line.substr(0, indentation)) columns += c == '\t' ? tab_width : 1;
    converted.append(static_cast<std::size_t>(tabs ? columns / tab_width : 0), '\t');
    converted.append(static_cast<std::size_t>(tabs ? columns % tab_width : columns), ' ');
    converted += line.substr(indentation);
  }
  return converted;
}

}  // namespace

std::string with_line_ends_of(std::string_view file, std::string_view text) {
  if (!has_crlf(file)) return std::string(text);
  std::string converted;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) converted += '\r';
    converted += text[i];
  }
  return converted;
}

Found find_text(std::string_view text, std::string_view old, std::string_view replacement) {
  const std::string with_ends = with_line_ends_of(text, replacement);
  Found found{occurrences(text, old), "", with_ends};
  if (!found.places.empty()) return found;

  struct Step {
    std::string_view name;
    Simplify simplify;
  };
  static constexpr std::array kSteps = {
      Step{"CRLF line ends", {}}, Step{"trailing blanks", {.trailing_blanks = true}},
      Step{"tabs for spaces", {.trailing_blanks = true, .tab_width = 8}},
      Step{"tabs for spaces", {.trailing_blanks = true, .tab_width = 4}},
      Step{"tabs for spaces", {.trailing_blanks = true, .tab_width = 2}}};
  for (const Step& step : kSteps) {
    const auto places = occurrences(view_of(text, step.simplify), view_of(old, step.simplify));
    if (places.size() != 1) continue;
    found.places = places;
    found.tolerated = step.name;
    if (step.simplify.tab_width > 0) {
      const auto [begin, end] = places.front();
      // The quoted text may begin in the middle of a line, whose indentation then stays.
      const bool whole_line = begin == 0 || text[begin - 1] == '\n';
      const auto kept = whole_line ? 0 : std::min(with_ends.find('\n'), with_ends.size());
      found.replacement =
          with_ends.substr(0, kept) + with_indentation_of(text.substr(begin, end - begin),
                                                          std::string_view(with_ends).substr(kept),
                                                          step.simplify.tab_width);
    }
    return found;
  }
  return found;
}

namespace {

// Windows compared character by character: those that share the most words with `old`.
constexpr std::size_t kCandidatesMax = 20;

// Beyond this, comparing takes longer than a hint is worth.
constexpr std::size_t kOldBytesMax = 8000;
constexpr std::size_t kLinesMax = 50'000;

using Words = std::unordered_map<std::string_view, int>;

template <typename Visit>
void for_each_word(std::string_view text, const Visit& visit) {
  const auto is_word = [](char c) {
    return (static_cast<unsigned char>(c) & 0x80U) != 0 || c == '_' || (c >= '0' && c <= '9') ||
           (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    while (is_word(text[i]) && end < text.size() && is_word(text[end])) ++end;
    if (text[i] != ' ' && text[i] != '\t') visit(text.substr(i, end - i));
    i = end;
  }
}

// How many words of each line `old` has too.
std::vector<int> shared_words(const std::vector<std::string_view>& lines, std::string_view old) {
  Words words;
  for_each_word(old, [&](std::string_view word) { ++words[word]; });
  std::vector<int> shared;
  for (const std::string_view line : lines) {
    int count = 0;
    for_each_word(line, [&](std::string_view word) { count += words.contains(word) ? 1 : 0; });
    shared.push_back(count);
  }
  return shared;
}

}  // namespace

std::optional<Nearest> find_nearest(const std::vector<std::string_view>& lines,
                                    std::string_view old) {
  if (old.ends_with('\n')) old.remove_suffix(1);
  const std::size_t height = split_lines(old).size();
  if (height == 0 || height > lines.size()) return std::nullopt;
  if (old.size() > kOldBytesMax || lines.size() > kLinesMax) return std::nullopt;

  const std::vector<int> shared = shared_words(lines, old);
  std::vector<std::pair<int, std::size_t>> candidates;  // fewest shared words last
  int sum = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    sum += shared[i];
    if (i + 1 < height) continue;
    candidates.emplace_back(-sum, i + 1 - height);
    sum -= shared[i + 1 - height];
  }
  std::ranges::sort(candidates);
  candidates.resize(std::min(candidates.size(), kCandidatesMax));

  std::optional<Nearest> nearest;
  int best = static_cast<int>(count_characters(old) / 2) + 1;
  for (const auto& [rank, first] : candidates) {
    const std::string_view begin = lines[first];
    const std::string_view end = lines[first + height - 1];
    const std::string_view window(begin.data(),
                                  static_cast<std::size_t>(end.data() + end.size() - begin.data()));
    const int distance = edit_distance(old, window, best);
    if (distance >= best) continue;
    best = distance;
    nearest = Nearest{static_cast<int>(first) + 1, static_cast<int>(first + height), distance};
  }
  return nearest;
}

}  // namespace fathom::tools
