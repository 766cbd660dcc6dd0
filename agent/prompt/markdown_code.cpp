// Fences and inline code, line by line.
#include "agent/prompt/markdown_code.h"

namespace fathom::agent::prompt {
namespace {

constexpr std::size_t kFenceMin = 3;  // CommonMark 0.31, section 4.5
constexpr std::size_t kIndentMax = 3;

}  // namespace

void MarkdownCode::push(std::string_view text) {
  for (const char c : text) {
    if (c == '\n') {
      end_line();
      continue;
    }
    if (c == '`' && (line_.empty() || line_.back() != '`')) ++runs_;
    line_ += c;
  }
}

void MarkdownCode::end_line() {
  std::string_view line = line_;
  const std::size_t indent = line.find_first_not_of(' ');
  if (indent <= kIndentMax && (line[indent] == '`' || line[indent] == '~')) {
    const char mark = line[indent];
    const std::size_t after = line.find_first_not_of(mark, indent);
    const std::size_t size = (after == line.npos ? line.size() : after) - indent;
    const std::string_view rest = line.substr(indent + size);
    if (fence_size_ == 0) {
      const bool info_is_sound = mark == '~' || rest.find('`') == rest.npos;
      if (size >= kFenceMin && info_is_sound) {
        fence_ = mark;
        fence_size_ = size;
      }
    } else if (mark == fence_ && size >= fence_size_ &&
               rest.find_first_not_of(" \t\r") == rest.npos) {
      fence_size_ = 0;
    }
  }
  line_.clear();
  runs_ = 0;
}

}  // namespace fathom::agent::prompt
