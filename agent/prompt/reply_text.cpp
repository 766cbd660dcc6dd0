// Looks for tags in what arrived of a reply.
#include "agent/prompt/reply_text.h"

#include <algorithm>

namespace fathom::agent::prompt {
namespace {

constexpr Tag kTags[] = {Tag::block,        Tag::block_close, Tag::invoke,
                         Tag::invoke_close, Tag::parameter,   Tag::parameter_close};

}  // namespace

std::string_view symbols_of(Tag tag) noexcept {
  static_assert(kDsmlSymbol == '\xFA');
  switch (tag) {
    case Tag::block:
      return "<\xFAtool_calls>";
    case Tag::block_close:
      return "</\xFAtool_calls>";
    case Tag::invoke:
      return "<\xFAinvoke";
    case Tag::invoke_close:
      return "</\xFAinvoke>";
    case Tag::parameter:
      return "<\xFAparameter";
    case Tag::parameter_close:
      return "</\xFAparameter>";
    case Tag::none:
      break;
  }
  return "";
}

Found ReplyText::match(std::size_t at, std::string_view literal) const noexcept {
  const std::string_view here = std::string_view(symbols).substr(std::min(at, size()));
  if (here.starts_with(literal)) return Found::yes;
  return !complete && literal.starts_with(here) ? Found::unknown : Found::no;
}

Found ReplyText::tag_at(std::size_t at, Tag& tag) const noexcept {
  Found found = Found::no;
  for (const Tag candidate : kTags) {
    switch (match(at, symbols_of(candidate))) {
      case Found::yes:
        tag = candidate;
        return Found::yes;
      case Found::unknown:
        found = Found::unknown;
        break;
      case Found::no:
        break;
    }
  }
  return found;
}

std::size_t ReplyText::skip_blanks(std::size_t at) const noexcept {
  const bool known = at >= blanks_begin_ && at <= blanks_end_;
  std::size_t end = known ? blanks_end_ : at;
  while (end < size() && is_blank(symbols[end])) ++end;
  blanks_begin_ = known ? blanks_begin_ : at;
  blanks_end_ = end;
  return end;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace fathom::agent::prompt
