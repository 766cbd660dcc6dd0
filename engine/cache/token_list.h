// The ids of a timeline; copies share them until one of them grows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/tokenizer.h"

namespace fathom::engine {

// A fork of half a million tokens would copy 2 MB of ids that neither side may ever change. Used by
// one thread at a time; copies may be used by others.
class TokenList {
 public:
  TokenList() = default;
  explicit TokenList(std::vector<Token> tokens)
      : size_(tokens.size()), tokens_(std::make_shared<std::vector<Token>>(std::move(tokens))) {}
  TokenList(const TokenList& other) noexcept : size_(other.size_), tokens_(other.tokens_) {
    shared_ = other.shared_ = true;
  }
  TokenList(TokenList&&) noexcept = default;
  TokenList& operator=(TokenList&&) noexcept = default;
  ~TokenList() = default;

  std::size_t size() const noexcept { return size_; }
  const Token* data() const noexcept { return tokens_->data(); }
  const Token* begin() const noexcept { return data(); }
  const Token* end() const noexcept { return data() + size_; }

  // Makes room for `count` ids in all. May throw std::bad_alloc and has then changed nothing, as
  // the next two.
  void reserve(std::size_t count) {
    if (count <= tokens_->capacity() && !shared_) return;
    std::vector<Token> larger;
    larger.reserve(std::max(count, size_));
    larger.assign(begin(), end());
    *this = TokenList(std::move(larger));
  }
  void append(std::span<const Token> more) {
    const std::size_t count = size_ + more.size();
    if (shared_ || count > tokens_->capacity()) reserve(std::max(count, 2 * size_));
    tokens_->resize(size_);
    tokens_->insert(tokens_->end(), more.begin(), more.end());
    size_ = count;
  }
  void assign(std::span<const Token> tokens) {
    *this = TokenList(std::vector<Token>(tokens.begin(), tokens.end()));
  }
  void shorten(std::size_t count) noexcept { size_ = std::min(size_, count); }

  std::size_t bytes() const noexcept { return tokens_->capacity() * sizeof(Token); }

 private:
  std::size_t size_ = 0;
  std::shared_ptr<std::vector<Token>> tokens_ = std::make_shared<std::vector<Token>>();
  // With a copy, which may still be there; asking the pointer's count would race with its end.
  mutable bool shared_ = false;
};

}  // namespace fathom::engine
