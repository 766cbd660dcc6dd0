// Builds a prompt out of segments, joining neighbouring plain text.
#pragma once

#include <string_view>
#include <vector>

#include "agent/prompt/render.h"

namespace fathom::agent::prompt {

class SegmentWriter {
 public:
  // One special token.
  void special(std::string_view token);

  // Text that may come from anywhere: no part of it becomes a special token.
  void plain(std::string_view text);

  // Text of ours, in which ｜DSML｜, <think> and </think> are special tokens.
  void markup(std::string_view text);

  std::vector<Segment> take() { return std::move(segments_); }

 private:
  std::vector<Segment> segments_;
};

}  // namespace fathom::agent::prompt
