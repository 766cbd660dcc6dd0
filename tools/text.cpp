// Lines, characters and counts of text.
#include "tools/text.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

namespace fathom::tools {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// git looks at so many bytes (its buffer_is_binary).
constexpr std::size_t kBinaryProbeBytes = 8000;

unsigned char byte_at(std::string_view bytes, std::size_t at) noexcept {
  return static_cast<unsigned char>(bytes[at]);
}

// What may follow a lead byte: how many bytes, and the range of the first of them (Unicode table
// 3-7; the narrow ranges keep out overlong forms, surrogates and values beyond U+10FFFF).
struct Form {
  std::size_t following = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  bool valid = true;
};

Form form_of(unsigned char lead) noexcept {
  if (lead < 0x80) return {};
  if (lead >= 0xC2 && lead <= 0xDF) return {.following = 1};
  if (lead == 0xE0) return {.following = 2, .low = 0xA0};
  if (lead == 0xED) return {.following = 2, .high = 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {.following = 2};
  if (lead == 0xF0) return {.following = 3, .low = 0x90};
  if (lead >= 0xF1 && lead <= 0xF3) return {.following = 3};
  if (lead == 0xF4) return {.following = 3, .high = 0x8F};
  return {.valid = false};
}

// One character or one ill-formed part that begins at a place.
struct Piece {
  std::size_t size = 1;
  bool valid = true;
  bool cut_off = false;  // the text ends before the character does
};

Piece piece_at(std::string_view bytes, std::size_t at) noexcept {
  const Form form = form_of(byte_at(bytes, at));
  if (!form.valid) return {.valid = false};
  for (std::size_t i = 1; i <= form.following; ++i) {
    if (at + i >= bytes.size()) return {.size = i, .valid = false, .cut_off = true};
    const unsigned char next = byte_at(bytes, at + i);
    const unsigned char low = i == 1 ? form.low : 0x80;
    const unsigned char high = i == 1 ? form.high : 0xBF;
    if (next < low || next > high) return {.size = i, .valid = false};
  }
  return {.size = 1 + form.following};
}

std::u32string decode(std::string_view text) {
  std::u32string points;
  for (std::size_t at = 0; at < text.size();) {
    const Piece piece = piece_at(text, at);
    // Ill-formed bytes count as characters of their own; only equality matters here.
    char32_t point = byte_at(text, at);
    for (std::size_t i = 1; i < piece.size; ++i) point = (point << 8) | byte_at(text, at + i);
    points.push_back(point);
    at += piece.size;
  }
  return points;
}

}  // namespace

std::vector<std::string_view> split_lines_with_ends(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::size_t size = end == std::string_view::npos ? text.size() : end + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines = split_lines_with_ends(text);
  for (std::string_view& line : lines) {
    if (line.ends_with('\n')) line.remove_suffix(1);
  }
  return lines;
}

std::string repair_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const Piece piece = piece_at(bytes, at);
    text += piece.valid ? bytes.substr(at, piece.size) : kReplacement;
    at += piece.size;
  }
  return text;
}

std::size_t unfinished_character(std::string_view bytes) noexcept {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const std::size_t at = bytes.size() - back;
    if ((byte_at(bytes, at) & 0xC0U) == 0x80U) continue;
    return piece_at(bytes, at).cut_off ? back : 0;
  }
  return 0;
}

bool is_binary(std::string_view bytes) noexcept {
  return bytes.substr(0, kBinaryProbeBytes).find('\0') != std::string_view::npos;
}

std::int64_t count_characters(std::string_view text) noexcept {
  return std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

std::string cut_line(std::string_view line, int characters_max) {
  if (line.size() <= static_cast<std::size_t>(characters_max)) return std::string(line);
  std::size_t end = 0;
  for (int shown = 0; shown < characters_max && end < line.size(); ++shown) {
    end += piece_at(line, end).size;
  }
  if (end >= line.size()) return std::string(line);
  return fmt::format("{}[… {} left out]", line.substr(0, end),
                     count_of(count_characters(line.substr(end)), "character"));
}

std::string count_of(std::int64_t count, std::string_view noun) {
  std::string digits = std::to_string(count);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (count < 0 ? 1 : 0);
       at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return fmt::format("{} {}{}", digits, noun, count == 1 ? "" : "s");
}

int edit_distance(std::string_view a, std::string_view b, int limit) {
  const std::u32string from = decode(a);
  const std::u32string to = decode(b);
  const auto width = static_cast<int>(to.size());
  if (std::abs(static_cast<int>(from.size()) - width) >= limit) return limit;

  std::vector<int> costs(to.size() + 1);
  for (int i = 0; i <= width; ++i) costs[static_cast<std::size_t>(i)] = i;
  for (std::size_t row = 0; row < from.size(); ++row) {
    int diagonal = costs[0];
    costs[0] = static_cast<int>(row) + 1;
    int least = costs[0];
    for (std::size_t column = 0; column < to.size(); ++column) {
      const int replaced = diagonal + (from[row] == to[column] ? 0 : 1);
      diagonal = costs[column + 1];
      costs[column + 1] = std::min({replaced, diagonal + 1, costs[column] + 1});
      least = std::min(least, costs[column + 1]);
    }
    if (least >= limit) return limit;
  }
  return std::min(costs.back(), limit);
}

std::string join(const std::vector<std::string>& words, std::string_view between) {
  return fmt::format("{}", fmt::join(words, between));
}

}  // namespace fathom::tools
