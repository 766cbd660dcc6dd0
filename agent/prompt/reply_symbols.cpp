// Special tokens of a reply to symbols, and back to their text.
#include "agent/prompt/reply_symbols.h"

#include <algorithm>
#include <array>

#include "agent/prompt/constants.h"

namespace fathom::agent::prompt {
namespace {

struct Meaning {
  std::string_view token;
  char symbol;  // 0: it ends the reply
  EndToken end = EndToken::eos;
};

constexpr std::array<Meaning, 8> kMeanings = {{{kThinkOpen, kThinkOpenSymbol},
                                               {kThinkClose, kThinkCloseSymbol},
                                               {kDsml, kDsmlSymbol},
                                               {kEndOfSentence, 0, EndToken::eos},
                                               {kBeginOfSentence, 0, EndToken::bos},
                                               {kUser, 0, EndToken::role},
                                               {kAssistant, 0, EndToken::role},
                                               {kLatestReminder, 0, EndToken::role}}};

// First bytes of all tokens: '<' and that of U+FF5C.
constexpr std::string_view kFirstBytes = "<\xEF";

// What stands at the start of `text`.
enum class Spelling { token, prefix, other };

Spelling spelling_at(std::string_view text, std::string_view& token) {
  bool prefix = false;
  for (const Meaning& meaning : kMeanings) {
    if (text.starts_with(meaning.token)) {
      token = meaning.token;
      return Spelling::token;
    }
    prefix = prefix || meaning.token.starts_with(text);
  }
  return prefix ? Spelling::prefix : Spelling::other;
}

}  // namespace

void SymbolReader::push(std::string_view bytes, ReplyParser::Piece piece, std::string& symbols) {
  if (end_) return;
  if (input_ == ReplyOptions::Input::text) {
    held_ += utf8_.push(bytes);
    take_spelled(symbols, /*finished=*/false);
  } else if (piece == ReplyParser::Piece::plain) {
    symbols += utf8_.push(bytes);
  } else {
    symbols += utf8_.flush();  // a token cannot finish a character
    take_token(bytes, symbols);
  }
}

void SymbolReader::finish(std::string& symbols) {
  if (end_) return;
  if (input_ == ReplyOptions::Input::text) {
    held_ += utf8_.flush();
    take_spelled(symbols, /*finished=*/true);
  } else {
    symbols += utf8_.flush();
  }
}

void SymbolReader::take_token(std::string_view token, std::string& symbols) {
  const auto meaning = std::ranges::find(kMeanings, token, &Meaning::token);
  if (meaning == kMeanings.end()) {
    symbols += utf8_.push(token);  // an added token without a meaning in replies is text
    symbols += utf8_.flush();
  } else if (meaning->symbol != 0) {
    symbols += meaning->symbol;
  } else {
    end_ = meaning->end;
  }
}

void SymbolReader::take_spelled(std::string& symbols, bool finished) {
  std::string_view rest = held_;
  while (!rest.empty() && !end_) {
    const std::size_t begin = std::min(rest.find_first_of(kFirstBytes), rest.size());
    symbols += rest.substr(0, begin);
    rest.remove_prefix(begin);
    if (rest.empty()) break;
    std::string_view token;
    const Spelling spelling = spelling_at(rest, token);
    if (spelling == Spelling::prefix && !finished) break;
    if (spelling == Spelling::token) {
      take_token(token, symbols);
    } else {
      symbols += rest.front();
    }
    rest.remove_prefix(std::max<std::size_t>(token.size(), 1));
  }
  held_ = end_ ? std::string() : std::string(rest);
}

std::string spelled(std::string_view symbols) {
  std::string text;
  text.reserve(symbols.size());
  for (const char c : symbols) {
    if (!is_symbol(c)) {
      text += c;
      continue;
    }
    const auto meaning = std::ranges::find(kMeanings, c, &Meaning::symbol);
    if (meaning != kMeanings.end()) text += meaning->token;
  }
  return text;
}

}  // namespace fathom::agent::prompt
