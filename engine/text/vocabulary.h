// The tokens of a vocabulary: bytes by id, and id by bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace fathom::engine {

class Vocabulary {
 public:
  // Makes room for `tokens_expected`; grows when there are more.
  explicit Vocabulary(std::size_t tokens_expected);

  // Gives an id its bytes. Once per id; ids in any order.
  void set(Token token, std::string_view bytes);

  // Lets find() find the token. Whether no other token with the same bytes was there.
  bool make_findable(Token token);
  std::optional<Token> find(std::string_view bytes) const noexcept;

  // Bytes of an id below size(); empty if it was never set.
  std::string_view operator[](Token token) const noexcept {
    const Span span = spans_[static_cast<std::size_t>(token)];
    return {bytes_.data() + span.begin, span.size};
  }
  int size() const noexcept { return static_cast<int>(spans_.size()); }

 private:
  struct Span {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
  };
  struct Slot {
    std::uint32_t check = 0;  // of the hash: spares most comparisons
    Token token = -1;         // -1: free
  };

  // The slot that holds the token with these bytes, or the free one where it belongs.
  Slot& slot_for(std::string_view bytes, std::uint64_t hash) noexcept;
  void grow();

  std::string bytes_;
  std::vector<Span> spans_;
  std::vector<Slot> slots_;  // open addressing, at most half full
  std::size_t findable_ = 0;
};

}  // namespace fathom::engine
