// Reads JSON by recursive descent and spells it as CPython does.
#include "agent/prompt/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <unordered_map>

#include <fmt/format.h>

#include "engine/tokenizer.h"

namespace fathom::agent::prompt {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

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

// Recursive descent. Each function returns false where the text is not JSON; error_ then says why.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  tl::expected<Json, JsonError> read() {
    Json value;
    if (!read_value(value, 0)) return tl::unexpected(error_);
    skip_blanks();
    if (at_ != text_.size()) {
      fail("the end of the text");
      return tl::unexpected(error_);
    }
    return value;
  }

 private:
  bool fail(std::string_view expected) {
    error_ = {fmt::format("expected {}", expected), at_};
    return false;
  }

  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  void skip_blanks() {
    const std::size_t next = text_.find_first_not_of(" \t\r\n", at_);
    at_ = std::min(next, text_.size());
  }

  bool read_value(Json& value, int depth) {
    if (depth > kJsonDepthMax) return fail("less nesting");
    skip_blanks();
    if (take('{')) return read_object(value, depth);
    if (take('[')) return read_array(value, depth);
    if (take('"')) {
      value.kind = Json::Kind::string;
      return read_string(value.text);
    }
    if (take("null")) return true;
    const bool yes = take("true");
    if (yes || take("false")) {
      value.kind = Json::Kind::boolean;
      value.boolean = yes;
      return true;
    }
    return read_number(value);
  }

  bool read_array(Json& value, int depth) {
    value.kind = Json::Kind::array;
    skip_blanks();
    if (take(']')) return true;
    while (true) {
      if (!read_value(value.items.emplace_back(), depth + 1)) return false;
      skip_blanks();
      if (take(']')) return true;
      if (!take(',')) return fail("',' or ']'");
    }
  }

  bool read_object(Json& value, int depth) {
    value.kind = Json::Kind::object;
    std::unordered_map<std::string, std::size_t> places;
    skip_blanks();
    if (take('}')) return true;
    while (true) {
      skip_blanks();
      std::string name;
      if (!take('"')) return fail("a member's name");
      if (!read_string(name)) return false;
      skip_blanks();
      if (!take(':')) return fail("':'");
      Json member;
      if (!read_value(member, depth + 1)) return false;
      const auto [place, is_new] = places.emplace(name, value.members.size());
      if (is_new) {
        value.members.push_back({std::move(name), std::move(member)});
      } else {
        value.members[place->second].value = std::move(member);
      }
      skip_blanks();
      if (take('}')) return true;
      if (!take(',')) return fail("',' or '}'");
    }
  }

  // After the opening quote.
  bool read_string(std::string& out) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (take('"')) return true;
      if (static_cast<unsigned char>(c) < 0x20) return fail("no control character in a string");
      if (c == '\\') {
        if (!read_escape(out)) return false;
      } else {
        out += c;
        ++at_;
      }
    }
    return fail("the end of a string");
  }

  bool read_escape(std::string& out) {
    ++at_;
    constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const auto which = at_ < text_.size() ? kEscapes.find(text_[at_]) : std::string_view::npos;
    if (which != std::string_view::npos) {
      out += kMeanings[which];
      ++at_;
      return true;
    }
    std::uint32_t unit = 0;
    if (!take('u') || !read_hex4(unit)) return fail("an escape");
    if (unit < 0xD800 || unit > 0xDFFF) {
      append_utf8(out, unit);
      return true;
    }
    const std::size_t after = at_;
    std::uint32_t low = 0;
    if (unit < 0xDC00 && take("\\u") && read_hex4(low) && low >= 0xDC00 && low <= 0xDFFF) {
      append_utf8(out, 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00));
    } else {
      out += kReplacement;
      at_ = after;
    }
    return true;
  }

  bool read_hex4(std::uint32_t& value) {
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) return false;
    at_ += 4;
    return true;
  }

  std::size_t digits() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ - begin;
  }

  bool read_number(Json& value) {
    const std::size_t begin = at_;
    take('-');
    if (!take('0') && digits() == 0) return fail("a value");
    if (take('.') && digits() == 0) return fail("a digit");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (digits() == 0) return fail("a digit");
    }
    value.kind = Json::Kind::number;
    value.text = text_.substr(begin, at_ - begin);
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  JsonError error_;
};

// repr() of a Python float: the shortest digits that read back as the same number; with an exponent
// below 1e-4 and from 1e16 on.
std::string python_float(std::string_view text) {
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec == std::errc::result_out_of_range) {
    number = std::strtod(std::string(text).c_str(), nullptr);  // infinite, or close to zero
  }
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";

  char buffer[64];
  const auto written =
      std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific);
  std::string_view spelled(buffer, static_cast<std::size_t>(written.ptr - buffer));
  std::string result;
  if (spelled.front() == '-') {
    result += '-';
    spelled.remove_prefix(1);
  }
  const std::size_t e = spelled.find('e');
  int exponent = 0;
  const char* exponent_begin = spelled.data() + e + (spelled[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, spelled.data() + spelled.size(), exponent);
  std::string digits(spelled.substr(0, 1));
  if (e > 2) digits += spelled.substr(2, e - 2);

  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    result += digits.substr(0, 1);
    if (count > 1) result += "." + digits.substr(1);
    return result + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) {
    return result + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  }
  if (count <= exponent + 1) {
    return result + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') +
           ".0";
  }
  const auto point = static_cast<std::size_t>(exponent + 1);
  return result + digits.substr(0, point) + "." + digits.substr(point);
}

std::string python_number(const std::string& text) {
  if (text.find_first_of(".eE") != std::string::npos) return python_float(text);
  return text == "-0" ? "0" : text;
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    constexpr std::string_view kPlain = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
    if (const auto which = kPlain.find(c); which != std::string_view::npos) {
      out += '\\';
      out += kLetters[which];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_spelling(std::string& out, const Json& value) {
  std::string_view separator = "";
  switch (value.kind) {
    case Json::Kind::null:
      out += "null";
      break;
    case Json::Kind::boolean:
      out += value.boolean ? "true" : "false";
      break;
    case Json::Kind::number:
      out += python_number(value.text);
      break;
    case Json::Kind::string:
      append_quoted(out, value.text);
      break;
    case Json::Kind::array:
      out += '[';
      for (const Json& item : value.items) {
        out += separator;
        append_spelling(out, item);
        separator = ", ";
      }
      out += ']';
      break;
    case Json::Kind::object:
      out += '{';
      for (const JsonMember& member : value.members) {
        out += separator;
        append_quoted(out, member.name);
        out += ": ";
        append_spelling(out, member.value);
        separator = ", ";
      }
      out += '}';
      break;
  }
}

}  // namespace

const Json* Json::find(std::string_view name) const noexcept {
  const auto found = std::ranges::find(members, name, &JsonMember::name);
  return found == members.end() ? nullptr : &found->value;
}

tl::expected<Json, JsonError> read_json(std::string_view text) {
  engine::TextStream stream;
  std::string valid = stream.push(text);
  valid += stream.flush();
  return Reader(valid).read();
}

std::string python_spelling(const Json& value) {
  std::string out;
  append_spelling(out, value);
  return out;
}

std::string json_string(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

}  // namespace fathom::agent::prompt
