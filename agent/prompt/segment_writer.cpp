// Splits markup at its special tokens.
#include "agent/prompt/segment_writer.h"

#include <algorithm>
#include <initializer_list>

#include "agent/prompt/constants.h"

namespace fathom::agent::prompt {

void SegmentWriter::special(std::string_view token) {
  segments_.push_back({Segment::Kind::special, std::string(token)});
}

void SegmentWriter::plain(std::string_view text) {
  if (text.empty()) return;
  if (segments_.empty() || segments_.back().kind != Segment::Kind::plain) {
    segments_.push_back({Segment::Kind::plain, {}});
  }
  segments_.back().text += text;
}

void SegmentWriter::markup(std::string_view text) {
  while (!text.empty()) {
    std::size_t begin = text.size();
    std::string_view first;
    for (const std::string_view token : {kDsml, kThinkOpen, kThinkClose}) {
      const std::size_t at = text.find(token);
      if (at >= begin) continue;
      begin = at;
      first = token;
    }
    plain(text.substr(0, begin));
    if (!first.empty()) special(first);
    text.remove_prefix(begin + first.size());
  }
}

}  // namespace fathom::agent::prompt
