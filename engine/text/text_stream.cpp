// TextStream: bytes that arrive in pieces to valid UTF-8.
#include "engine/text/utf8.h"
#include "engine/tokenizer.h"

namespace fathom::engine {

std::string TextStream::push(std::string_view bytes) {
  std::string text = std::move(held_);
  text += bytes;
  held_.clear();

  // Only the last three bytes can belong to a character that is not finished yet.
  std::size_t end = text.size();
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t start = text.size() - back;
    if ((static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) continue;
    if (utf8_part(text, start).kind == Utf8Part::Kind::unfinished) end = start;
    break;
  }
  held_ = text.substr(end);
  text.resize(end);
  return valid_utf8_prefix(text) == text.size() ? text : replace_invalid_utf8(text);
}

std::string TextStream::flush() {
  const bool held = !held_.empty();
  held_.clear();
  return held ? std::string(kReplacement) : std::string();
}

}  // namespace fathom::engine
