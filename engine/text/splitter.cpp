// The three split patterns as a hand-written scanner.
#include "engine/text/splitter.h"

#include "engine/text/utf8.h"

namespace fathom::engine {
namespace {

// What a backslash in front of `c` stands for in a pattern; 0: nothing but itself.
char unescaped(char c) noexcept {
  switch (c) {
    case 'r':
      return '\r';
    case 'n':
      return '\n';
    case '"':
      return '"';
    default:
      return 0;
  }
}

std::string normalised(std::string_view pattern) {
  std::string result;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char plain = unescaped(pattern[i + 1]);
      if (plain == 0) result += pattern[i];
      result += plain == 0 ? pattern[i + 1] : plain;
      ++i;
    } else {
      result += pattern[i];
    }
  }
  return result;
}

bool is_letter_or_mark(CharacterClass kind) noexcept {
  return kind == CharacterClass::letter || kind == CharacterClass::mark;
}

bool is_punctuation(CharacterClass kind) noexcept {
  return kind == CharacterClass::punctuation || kind == CharacterClass::symbol;
}

bool is_white_space(CharacterClass kind) noexcept {
  return kind == CharacterClass::space || kind == CharacterClass::newline;
}

}  // namespace

bool same_pattern(std::string_view pattern, std::string_view split) {
  return normalised(pattern) == normalised(split);
}

// The end of a text looks like a number: both end what the third split sees.
Splitter::Character Splitter::character(std::size_t at) const noexcept {
  constexpr Character kEnd{CharacterClass::number, 0};
  if (at >= text_.size()) return kEnd;
  const auto byte = static_cast<unsigned char>(text_[at]);
  if (byte < 0x80) return in_cjk_ ? kEnd : Character{classes_.of(byte), 1};
  const CodePoint point = code_point_at(text_, at);
  if (is_cjk(point.value) != in_cjk_) return kEnd;
  return {classes_.of(point.value), static_cast<std::size_t>(point.size)};
}

std::size_t Splitter::numbers(std::size_t at) const noexcept {
  for (int taken = 0; taken < 3; ++taken) {
    const Character next = character(at);
    if (next.kind != CharacterClass::number) break;
    at += next.size;
  }
  return at;
}

std::size_t Splitter::run_of(CharacterClass kind, std::size_t at) const noexcept {
  for (Character next = character(at); next.kind == kind; next = character(at)) at += next.size;
  return at;
}

std::size_t Splitter::letters_and_marks(std::size_t at) const noexcept {
  for (Character next = character(at); is_letter_or_mark(next.kind); next = character(at)) {
    at += next.size;
  }
  return at;
}

std::size_t Splitter::ascii_letters(std::size_t at) const noexcept {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  while (at < text_.size() && is_letter(text_[at])) ++at;
  return at;
}

// [\p{P}\p{S}]+[\r\n]*
std::size_t Splitter::punctuation_and_newlines(std::size_t at) const noexcept {
  const std::size_t begin = at;
  for (Character next = character(at); is_punctuation(next.kind); next = character(at)) {
    at += next.size;
  }
  return at == begin ? begin : run_of(CharacterClass::newline, at);
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : through the last line break of the run; without one, all but the
// character before the next word; a single character in any case.
std::size_t Splitter::white_space(std::size_t at) const noexcept {
  const std::size_t begin = at;
  std::size_t last = at, after_newline = at;
  Character next = character(at);
  for (; is_white_space(next.kind); next = character(at)) {
    last = at;
    at += next.size;
    if (next.kind == CharacterClass::newline) after_newline = at;
  }
  if (after_newline != begin) return after_newline;
  return next.kind == CharacterClass::number || last == begin ? at : last;
}

std::size_t Splitter::third_split(std::size_t at) const noexcept {
  const Character first = character(at);
  const std::size_t second = at + first.size;
  switch (first.kind) {
    case CharacterClass::letter:
    case CharacterClass::mark:
      return letters_and_marks(second);
    case CharacterClass::punctuation:
    case CharacterClass::symbol: {
      const std::size_t word = first.size == 1 ? ascii_letters(second) : second;
      return word != second ? word : punctuation_and_newlines(at);
    }
    case CharacterClass::space: {
      const std::size_t word = letters_and_marks(second);
      if (word != second) return word;
      const std::size_t marks = text_[at] == ' ' ? punctuation_and_newlines(second) : second;
      return marks != second ? marks : white_space(at);
    }
    case CharacterClass::newline:
      return white_space(at);
    case CharacterClass::other: {
      const std::size_t word = letters_and_marks(second);
      return word != second ? word : at;
    }
    case CharacterClass::number:
      break;
  }
  return at;
}

std::size_t Splitter::piece(std::size_t at) const noexcept {
  if (character(at).kind == CharacterClass::number) return numbers(at);
  const std::size_t match = third_split(at);
  if (match != at) return match;

  // A gap: it goes on to the next character that starts a match.
  do {
    at += character(at).size;
  } while (character(at).kind == CharacterClass::other && third_split(at) == at);
  return at;
}

std::string_view Splitter::next() noexcept {
  const std::size_t begin = at_;
  if (begin == text_.size()) return {};
  in_cjk_ = is_cjk(code_point_at(text_, begin).value);
  at_ = piece(begin);
  return text_.substr(begin, at_ - begin);
}

}  // namespace fathom::engine
