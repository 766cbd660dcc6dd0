// Tokenizer: the parts put together.
#include "engine/tokenizer.h"

#include <fstream>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/text/loaders.h"
#include "engine/text/splitter.h"
#include "engine/text/utf8.h"
#include "engine/weights/gguf_parts.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

bool is_gguf(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  return file.read(magic, sizeof magic) && std::string_view(magic, sizeof magic) == "GGUF";
}

std::unique_ptr<const TokenizerTables> load_tables(const fs::path& path) {
  if (fs::is_directory(path)) {
    const bool hugging_face =
        fs::exists(path / "config.json") || fs::exists(path / "tokenizer.json");
    return hugging_face ? load_tokenizer_json(path / "tokenizer.json")
                        : load_tokenizer_gguf(find_gguf(path));
  }
  return is_gguf(path) ? load_tokenizer_gguf(path) : load_tokenizer_json(path);
}

void encode_plain(const Bpe& bpe, std::string_view text, std::vector<Token>& tokens) {
  Splitter splitter(text);
  for (auto piece = splitter.next(); !piece.empty(); piece = splitter.next()) {
    bpe.encode(piece, tokens);
  }
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::load(const fs::path& path) {
  return std::shared_ptr<const Tokenizer>(new Tokenizer(load_tables(path)));
}

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerTables> tables) : tables_(std::move(tables)) {}
Tokenizer::~Tokenizer() = default;

std::vector<Token> Tokenizer::encode(std::string_view text, AddedTokens added) const {
  if (valid_utf8_prefix(text) != text.size()) return encode(replace_invalid_utf8(text), added);

  std::vector<Token> tokens;
  tokens.reserve(text.size() / 4);
  std::size_t at = 0;
  while (added == AddedTokens::recognised) {
    const auto match = tables_->added.find(text, at);
    if (!match) break;
    encode_plain(tables_->bpe, text.substr(at, match->begin - at), tokens);
    tokens.push_back(match->token);
    at = match->begin + match->size;
  }
  encode_plain(tables_->bpe, text.substr(at), tokens);
  return tokens;
}

std::string Tokenizer::decode(std::span<const Token> tokens) const {
  std::string text;
  for (const Token token : tokens) text += bytes(token);
  return text;
}

std::string_view Tokenizer::bytes(Token token) const noexcept {
  const Vocabulary& vocabulary = tables_->bpe.vocabulary();
  return token >= 0 && token < vocabulary.size() ? vocabulary[token] : std::string_view();
}

std::optional<Token> Tokenizer::added_token(std::string_view text) const noexcept {
  return tables_->added.exact(text);
}

bool Tokenizer::is_added(Token token) const noexcept {
  return token >= 0 && token < vocab_size() &&
         tables_->flags[static_cast<std::size_t>(token)].added;
}

bool Tokenizer::is_special(Token token) const noexcept {
  return token >= 0 && token < vocab_size() &&
         tables_->flags[static_cast<std::size_t>(token)].special;
}

bool Tokenizer::is_reserved(Token token) const noexcept {
  return bytes(token).empty();
}

int Tokenizer::vocab_size() const noexcept {
  return tables_->bpe.vocabulary().size();
}

}  // namespace fathom::engine
