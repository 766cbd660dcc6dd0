// Tokenizers that the tests of engine/text share.
#pragma once

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/tokenizer.h"
#include "test_paths.h"

namespace fathom::engine {

// The published tokenizer.json of DeepSeek-V4, which `./bootstrap test` fetches; may be missing.
inline std::filesystem::path official_path() {
  return std::filesystem::path(FATHOM_BUILD) / ".." / "data" / "tokenizer.json";
}

// A small tokenizer of the same make that belongs to the golden files; may be missing.
inline std::filesystem::path golden_path() {
  return std::filesystem::path(FATHOM_SHARED) / "golden" / "ga" / "hf" / "tokenizer.json";
}

// Nothing where the file is missing. Loaded once.
inline std::shared_ptr<const Tokenizer> official() {
  static const auto kTokenizer = std::filesystem::exists(official_path())
                                     ? Tokenizer::load(official_path())
                                     : std::shared_ptr<const Tokenizer>();
  return kTokenizer;
}
inline std::shared_ptr<const Tokenizer> golden() {
  static const auto kTokenizer = std::filesystem::exists(golden_path())
                                     ? Tokenizer::load(golden_path())
                                     : std::shared_ptr<const Tokenizer>();
  return kTokenizer;
}

#define FATHOM_NEEDS(tokenizer, path) \
  if (!(tokenizer)) GTEST_SKIP() << (path) << " is missing: run ./bootstrap test"

// Appends U+`c` in UTF-8.
inline void append_utf8(std::string& text, char32_t c) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
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

// Random text that meets every rule of the splits: short runs of one kind, ASCII most of all.
inline std::u32string random_text(std::mt19937& random, std::size_t length) {
  const std::pair<char32_t, char32_t> kinds[] = {
      {U'a', U'z'},     {U'A', U'Z'},       {U'0', U'9'},       {U'!', U'/'},     {U' ', U' '},
      {U' ', U' '},     {U'\n', U'\n'},     {U'\r', U'\r'},     {U'\t', U'\r'},   {0x00, 0x1F},
      {0x80, 0x17F},    {0x300, 0x36F},     {0x370, 0x5FF},     {0x2000, 0x206F}, {0x2150, 0x218F},
      {0x3000, 0x30FF}, {0x4E00, 0x4E20},   {0x9F90, 0x9FBF},   {0xAC00, 0xAC20}, {0xE000, 0xE010},
      {0xFF00, 0xFF5F}, {0x1F300, 0x1F64F}, {0x20000, 0x20010}, {0x0600, 0x097F}, {0x0, 0xD7FF}};
  const auto below = [&](std::size_t n) { return random() % n; };
  std::u32string text;
  while (text.size() < length) {
    const auto [first, last] = kinds[below(std::size(kinds))];
    for (std::size_t run = 1 + below(3); run > 0; --run) {
      text += static_cast<char32_t>(first + below(last - first + 1));
    }
  }
  return text;
}

inline std::string utf8(const std::u32string& text) {
  std::string result;
  for (const char32_t c : text) append_utf8(result, c);
  return result;
}

}  // namespace fathom::engine
