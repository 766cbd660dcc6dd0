// The JSON walk of a tokenizer file.
#include "engine/text/json_cursor.h"

#include <charconv>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::engine {
namespace {

constexpr int kDepthMax = 256;  // of a value that is skipped; a tokenizer's file has about six

void append_utf8(std::string& text, std::uint32_t c) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace

void JsonCursor::fail(std::string_view expected) const {
  const std::string found =
      at_ < text_.size() ? fmt::format("'{}'", text_.substr(at_, 1)) : "the end of the file";
  throw Error(fmt::format("{}: {} at byte {}, expected {}", name_, found, at_, expected));
}

void JsonCursor::seek(std::size_t position) noexcept {
  at_ = position;
  first_ = false;
}

void JsonCursor::skip_blanks() noexcept {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
    ++at_;
  }
}

char JsonCursor::peek() {
  skip_blanks();
  if (at_ == text_.size()) fail("a value");
  return text_[at_];
}

void JsonCursor::expect(char c) {
  if (at_ == text_.size() || peek() != c) fail(fmt::format("'{}'", c));
  ++at_;
}

void JsonCursor::open_object() {
  expect('{');
  first_ = true;
}

void JsonCursor::open_array() {
  expect('[');
  first_ = true;
}

bool JsonCursor::next_member(std::string& name) {
  if (peek() == '}') {
    ++at_;
    first_ = false;
    return false;
  }
  if (!first_) expect(',');
  first_ = false;
  if (peek() != '"') fail("a member's name");
  std::string buffer;
  name = read_string(buffer);
  expect(':');
  return true;
}

bool JsonCursor::next_item() {
  if (peek() == ']') {
    ++at_;
    first_ = false;
    return false;
  }
  if (!first_) expect(',');
  first_ = false;
  return true;
}

std::string_view JsonCursor::read_string(std::string& buffer) {
  expect('"');
  const std::size_t begin = at_;
  while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\') ++at_;
  if (at_ == text_.size()) fail("the end of a string");
  if (text_[at_] == '"') return text_.substr(begin, at_++ - begin);

  buffer = text_.substr(begin, at_ - begin);
  while (at_ < text_.size() && text_[at_] != '"') {
    if (text_[at_] == '\\') {
      append_escape(buffer);
    } else {
      buffer += text_[at_++];
    }
  }
  if (at_ == text_.size()) fail("the end of a string");
  ++at_;
  return buffer;
}

void JsonCursor::append_escape(std::string& buffer) {
  ++at_;
  if (at_ == text_.size()) fail("an escape");
  constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  const char c = text_[at_];
  if (const auto which = kEscapes.find(c); which != std::string_view::npos) {
    buffer += kMeanings[which];
    ++at_;
    return;
  }
  if (c != 'u') fail("an escape");
  std::uint32_t unit = read_hex4();
  const bool high = unit >= 0xD800 && unit < 0xDC00;
  if (high && text_.substr(at_, 2) == "\\u") {
    ++at_;
    const std::uint32_t low = read_hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a surrogate pair before here");
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  } else if (unit >= 0xD800 && unit < 0xE000) {
    fail("a surrogate pair before here");
  }
  append_utf8(buffer, unit);
}

// At the `u` of an escape.
std::uint32_t JsonCursor::read_hex4() {
  ++at_;
  std::uint32_t value = 0;
  const std::string_view digits = text_.substr(at_, 4);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || digits.size() != 4 || end != digits.data() + 4) {
    fail("four hexadecimal digits");
  }
  at_ += 4;
  return value;
}

std::int64_t JsonCursor::read_integer() {
  peek();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
  if (error != std::errc()) fail("an integer");
  at_ = static_cast<std::size_t>(end - text_.data());
  return value;
}

bool JsonCursor::literal(std::string_view word) noexcept {
  if (!text_.substr(at_).starts_with(word)) return false;
  at_ += word.size();
  return true;
}

bool JsonCursor::read_boolean() {
  peek();
  if (literal("true")) return true;
  if (!literal("false")) fail("true or false");
  return false;
}

// Counts brackets and steps over strings; what stands between them is not looked at.
void JsonCursor::skip_value() {
  int depth = 0;
  do {
    const char c = peek();
    if (c == '"') {
      for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
        if (text_[at_] == '\\') ++at_;
      }
      if (at_ >= text_.size()) fail("the end of a string");
      ++at_;
    } else if (c == '{' || c == '[') {
      if (++depth > kDepthMax) fail("less nesting");
      ++at_;
    } else if (c == '}' || c == ']') {
      if (--depth < 0) fail("a value");
      ++at_;
    } else if (c == ',' || c == ':') {
      if (depth == 0) fail("a value");
      ++at_;
    } else {
      const std::size_t begin = at_;
      while (at_ < text_.size() &&
             std::string_view(",:]}\"[{ \n\r\t").find(text_[at_]) == std::string_view::npos) {
        ++at_;
      }
      if (at_ == begin) fail("a value");
    }
  } while (depth > 0);
}

}  // namespace fathom::engine
