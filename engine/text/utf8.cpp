// UTF-8 by table 3-7 of the Unicode Standard.
#include "engine/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace fathom::engine {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t at) noexcept {
  return static_cast<std::uint8_t>(text[at]);
}

struct Lead {
  int size;                   // of the whole character; 0: cannot start one
  std::uint8_t second_first;  // range of the second byte: excludes overlong forms, surrogates and
  std::uint8_t second_last;   // what lies beyond U+10FFFF
};

// Unicode Standard, table 3-7.
Lead lead(std::uint8_t byte) noexcept {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t at) noexcept {
  const auto continuation = [&](std::size_t i) -> char32_t {
    return byte_at(text, at + i) & 0x3FU;
  };
  const char32_t first = byte_at(text, at);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | continuation(1), 2};
  if (first < 0xF0) {
    return {(first & 0x0F) << 12 | continuation(1) << 6 | continuation(2), 3};
  }
  return {(first & 0x07) << 18 | continuation(1) << 12 | continuation(2) << 6 | continuation(3), 4};
}

Utf8Part utf8_part(std::string_view text, std::size_t at) noexcept {
  const Lead start = lead(byte_at(text, at));
  if (start.size == 0) return {Utf8Part::Kind::invalid, 1};
  for (int size = 1; size < start.size; ++size) {
    const std::size_t next = at + static_cast<std::size_t>(size);
    if (next == text.size()) return {Utf8Part::Kind::unfinished, size};
    const std::uint8_t byte = byte_at(text, next);
    const std::uint8_t first = size == 1 ? start.second_first : 0x80;
    const std::uint8_t last = size == 1 ? start.second_last : 0xBF;
    if (byte < first || byte > last) return {Utf8Part::Kind::invalid, size};
  }
  return {Utf8Part::Kind::character, start.size};
}

std::size_t valid_utf8_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    // Eight ASCII bytes at a time: most text is.
    while (at + 8 <= text.size()) {
      std::uint64_t word;
      std::memcpy(&word, text.data() + at, 8);
      if ((word & 0x8080808080808080U) != 0) break;
      at += 8;
    }
    if (at == text.size()) break;
    const Utf8Part part = utf8_part(text, at);
    if (part.kind != Utf8Part::Kind::character) break;
    at += static_cast<std::size_t>(part.size);
  }
  return at;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    result += text.substr(0, valid);
    text.remove_prefix(valid);
    if (text.empty()) break;
    result += kReplacement;
    text.remove_prefix(static_cast<std::size_t>(utf8_part(text, 0).size));
  }
  return result;
}

}  // namespace fathom::engine
