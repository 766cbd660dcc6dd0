// Byte characters, and the checks that make a tokenizer whole.
#include "engine/text/tables.h"

#include <array>
#include <optional>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/text/utf8.h"

namespace fathom::engine {
namespace {

// Far above any vocabulary; an id beyond it is a broken file that would exhaust memory.
constexpr std::int64_t kIdsMax = 1 << 22;

// Byte characters: vocabularies are written as text, each byte as one printable character. Bytes
// that are printable in Latin-1 stand for themselves, the other 68 for U+0100 onwards, in order.
constexpr std::size_t kByteCharacters = 0x100 + 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<int, kByteCharacters> bytes_of_characters() {
  std::array<int, kByteCharacters> bytes{};
  bytes.fill(-1);
  std::size_t next = 0x100;
  for (int byte = 0; byte < 0x100; ++byte) {
    bytes[stands_for_itself(byte) ? static_cast<std::size_t>(byte) : next++] = byte;
  }
  return bytes;
}

constexpr auto kBytesOfCharacters = bytes_of_characters();

std::optional<std::string> bytes_of(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    const int byte = point.value < kByteCharacters ? kBytesOfCharacters[point.value] : -1;
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    at += static_cast<std::size_t>(point.size);
  }
  return bytes;
}

}  // namespace

TokenizerBuilder::TokenizerBuilder(std::string name, std::size_t tokens_expected)
    : name_(std::move(name)), vocabulary_(tokens_expected) {
  flags_.reserve(tokens_expected);
  merges_.reserve(tokens_expected);
}

Token TokenizerBuilder::checked(std::int64_t id) const {
  if (id < 0 || id >= kIdsMax) {
    throw Error(fmt::format("{}: token id {}, expected 0 to {}", name_, id, kIdsMax - 1));
  }
  return static_cast<Token>(id);
}

void TokenizerBuilder::add_token(std::int64_t id, std::string_view text) {
  const Token token = checked(id);
  if (token < vocabulary_.size() && !vocabulary_[token].empty()) {
    throw Error(fmt::format("{}: token id {} stands for '{}' and for '{}', expected one text",
                            name_, id, vocabulary_[token], text));
  }
  const auto bytes = bytes_of(text);
  vocabulary_.set(token, bytes ? *bytes : text);
  if (bytes && !bytes->empty() && !vocabulary_.make_findable(token)) {
    throw Error(fmt::format("{}: the token '{}' has two ids, one of them {}", name_, text, id));
  }
}

void TokenizerBuilder::add_added_token(std::int64_t id, std::string_view text, bool special) {
  const Token token = checked(id);
  if (text.empty()) throw Error(fmt::format("{}: added token {} has no text", name_, id));
  const bool known = token < vocabulary_.size() && !vocabulary_[token].empty();
  if (!known) vocabulary_.set(token, text);
  if (vocabulary_[token] != text) {
    throw Error(
        fmt::format("{}: token id {} is '{}' in the vocabulary and '{}' among the added tokens",
                    name_, id, vocabulary_[token], text));
  }
  const auto at = static_cast<std::size_t>(token);
  if (at >= flags_.size()) flags_.resize(at + 1);
  flags_[at] = {.added = true, .special = special};
  added_.push_back({std::string(text), token});
}

Token TokenizerBuilder::merge_part(std::string_view bytes) const {
  const auto token = vocabulary_.find(bytes);
  if (token) return *token;
  throw Error(fmt::format("{}: merge {} needs the token '{}', which the vocabulary lacks", name_,
                          merges_.size(), bytes));
}

void TokenizerBuilder::add_merge(std::string_view left, std::string_view right) {
  const auto first = bytes_of(left), second = bytes_of(right);
  if (!first || !second || first->empty() || second->empty()) {
    throw Error(fmt::format("{}: merge {} is '{}' and '{}', expected two texts of byte characters",
                            name_, merges_.size(), left, right));
  }
  merges_.push_back({merge_part(*first), merge_part(*second), merge_part(*first + *second)});
}

void TokenizerBuilder::add_merge(std::string_view pair) {
  const std::size_t space = pair.find(' ');
  if (space == std::string_view::npos) {
    throw Error(fmt::format("{}: merge {} is '{}', expected two texts with a space between", name_,
                            merges_.size(), pair));
  }
  add_merge(pair.substr(0, space), pair.substr(space + 1));
}

std::unique_ptr<const TokenizerTables> TokenizerBuilder::finish() {
  for (int byte = 0; byte < 0x100; ++byte) {
    const char text = static_cast<char>(byte);
    if (vocabulary_.find({&text, 1})) continue;
    throw Error(
        fmt::format("{}: no token for byte {:#04x}, expected one for each of the 256 bytes "
                    "(byte-level BPE)",
                    name_, byte));
  }
  flags_.resize(static_cast<std::size_t>(vocabulary_.size()));
  return std::make_unique<const TokenizerTables>(TokenizerTables{
      Bpe(std::move(vocabulary_), merges_), AddedTokenSet(std::move(added_)), std::move(flags_)});
}

}  // namespace fathom::engine
