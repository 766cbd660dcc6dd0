// A reply as the parser's states read it: valid UTF-8 in which each special token is one byte.
//
// Bytes from 0xF8 on never occur in UTF-8, so they are free to stand for tokens. From here on "the
// token ｜DSML｜" and "the characters ｜DSML｜" cannot be confused.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/prompt/reply_parser.h"
#include "engine/tokenizer.h"

namespace fathom::agent::prompt {

inline constexpr char kThinkOpenSymbol = '\xF8';
inline constexpr char kThinkCloseSymbol = '\xF9';
inline constexpr char kDsmlSymbol = '\xFA';

// What ends a reply, beside the end of generation.
enum class EndToken { eos, role, bos };

// Turns pieces of a reply into symbols.
class SymbolReader {
 public:
  explicit SymbolReader(ReplyOptions::Input input) : input_(input) {}

  // Appends what `bytes` settles to `symbols`. After an end token everything is ignored.
  void push(std::string_view bytes, ReplyParser::Piece piece, std::string& symbols);

  // Appends what was held back.
  void finish(std::string& symbols);

  const std::optional<EndToken>& end() const noexcept { return end_; }

 private:
  void take_token(std::string_view token, std::string& symbols);
  void take_spelled(std::string& symbols, bool finished);

  ReplyOptions::Input input_;
  engine::TextStream utf8_;
  std::string held_;  // Input::text: may be the beginning of a token's spelling
  std::optional<EndToken> end_;
};

// Whether `c` stands for a token.
constexpr bool is_symbol(char c) noexcept {
  return static_cast<unsigned char>(c) >= 0xF8;
}

// The text that `symbols` came from.
std::string spelled(std::string_view symbols);

}  // namespace fathom::agent::prompt
