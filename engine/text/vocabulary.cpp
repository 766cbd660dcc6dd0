// The hash table behind Vocabulary::find.
#include "engine/text/vocabulary.h"

#include <cassert>

#include "engine/text/hash.h"

namespace fathom::engine {

Vocabulary::Vocabulary(std::size_t tokens_expected) : slots_(slots_for(tokens_expected)) {
  spans_.reserve(tokens_expected);
  bytes_.reserve(tokens_expected * 8);  // the mean is between six and seven bytes
}

void Vocabulary::set(Token token, std::string_view bytes) {
  const auto at = static_cast<std::size_t>(token);
  if (at >= spans_.size()) spans_.resize(at + 1);
  assert(spans_[at].size == 0);
  spans_[at] = {static_cast<std::uint32_t>(bytes_.size()),
                static_cast<std::uint32_t>(bytes.size())};
  bytes_ += bytes;
}

bool Vocabulary::make_findable(Token token) {
  const std::string_view bytes = (*this)[token];
  const std::uint64_t hash = hash_of(bytes);
  Slot& slot = slot_for(bytes, hash);
  if (slot.token >= 0) return false;
  slot = {static_cast<std::uint32_t>(hash), token};
  if (++findable_ * 2 > slots_.size()) grow();
  return true;
}

Vocabulary::Slot& Vocabulary::slot_for(std::string_view bytes, std::uint64_t hash) noexcept {
  const auto check = static_cast<std::uint32_t>(hash);
  std::size_t at = first_slot(hash, slots_.size());
  while (slots_[at].token >= 0 &&
         (slots_[at].check != check || (*this)[slots_[at].token] != bytes)) {
    at = next_slot(at, slots_.size());
  }
  return slots_[at];
}

void Vocabulary::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.token < 0) continue;
    const std::string_view bytes = (*this)[slot.token];
    slot_for(bytes, hash_of(bytes)) = slot;
  }
}

std::optional<Token> Vocabulary::find(std::string_view bytes) const noexcept {
  const std::uint64_t hash = hash_of(bytes);
  const auto check = static_cast<std::uint32_t>(hash);
  std::size_t at = first_slot(hash, slots_.size());
  for (; slots_[at].token >= 0; at = next_slot(at, slots_.size())) {
    if (slots_[at].check == check && (*this)[slots_[at].token] == bytes) return slots_[at].token;
  }
  return std::nullopt;
}

}  // namespace fathom::engine
