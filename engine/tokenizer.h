// Text to token ids and back: byte-level BPE as spec'd by a tokenizer.json or a GGUF.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::engine {

using Token = std::int32_t;

// Whether the text of an added token (`<think>`, `｜DSML｜`) becomes that token. Text from outside
// (files, outcomes, what a user typed) is data and must not: it could forge a turn.
enum class AddedTokens { recognised, plain };

struct TokenizerTables;

// Immutable after load and safe to share between threads.
class Tokenizer {
 public:
  // `path`: a tokenizer.json, a model folder that holds one, or a GGUF file.
  // Throws Error if it is missing, malformed or of a kind that is not byte-level BPE.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& path);

  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  ~Tokenizer();

  // Ids of `text`. Invalid UTF-8 is read as U+FFFD, one per maximal invalid part. Adds no BOS.
  std::vector<Token> encode(std::string_view text, AddedTokens added) const;

  // Bytes of `tokens`, which may end inside a character (see TextStream). Reserved ids are empty.
  std::string decode(std::span<const Token> tokens) const;

  // Bytes of one token; empty for ids outside the vocabulary.
  std::string_view bytes(Token token) const noexcept;

  // The id of an added token by its text, e.g. "<think>".
  std::optional<Token> added_token(std::string_view text) const noexcept;
  bool is_added(Token token) const noexcept;

  // Whether decoding "without special tokens" drops the id (the special flag of its entry).
  bool is_special(Token token) const noexcept;

  // Whether the id has no text at all, so that sampling must never choose it.
  bool is_reserved(Token token) const noexcept;

  int vocab_size() const noexcept;

 private:
  explicit Tokenizer(std::unique_ptr<const TokenizerTables> tables);
  std::unique_ptr<const TokenizerTables> tables_;
};

// Turns bytes that arrive in pieces into valid UTF-8: holds back an unfinished character (at most
// three bytes) and replaces what cannot become one by U+FFFD.
class TextStream {
 public:
  // The text that `bytes` completes.
  std::string push(std::string_view bytes);

  // What was held back, as U+FFFD; the stream is empty afterwards.
  std::string flush();

 private:
  std::string held_;
};

}  // namespace fathom::engine
