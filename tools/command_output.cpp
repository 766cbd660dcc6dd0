// Cleans the output of commands that believe they talk to a terminal.
#include "tools/command_output.h"

#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr char kEscape = '\x1B';
constexpr char kBell = '\x07';

// A line and the note cost as much as two or three short lines; below that nothing is saved.
constexpr int kFoldFrom = 4;

void remove_last_character(std::string& text) {
  while (!text.empty() && text.back() != '\n') {
    const bool continues = (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U;
    text.pop_back();
    if (!continues) return;
  }
}

bool is_shown(char c) {
  return c == '\n' || c == '\t' || c == '\r' ||
         (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

}  // namespace

// ECMA-48: ESC [ parameters final; ESC ] … BEL or ESC \ (also after P, X, ^, _); ESC and one more,
// perhaps with intermediates before it, such as ESC ( B.
void TerminalFilter::take(char c, std::string& text) {
  switch (state_) {
    case State::text:
      if (c == kEscape) {
        state_ = State::escape;
      } else if (c == '\b') {
        remove_last_character(text);
      } else if (is_shown(c)) {
        text += c;
      }
      return;
    case State::escape:
      if (c == '[') {
        state_ = State::parameters;
      } else if (std::string_view("]PX^_").find(c) != std::string_view::npos) {
        state_ = State::string;
      } else if (c < 0x20 || c > 0x2F) {
        state_ = State::text;
      }
      return;
    case State::parameters:
      if (c < 0x20 || c > 0x3F) state_ = State::text;
      return;
    case State::string:
      if (c == kBell || c == '\n') state_ = State::text;  // a newline: nobody closed it
      if (c == '\n') text += c;
      if (c == kEscape) state_ = State::string_escape;
      return;
    case State::string_escape:
      state_ = c == '\\' ? State::text : State::string;
      return;
  }
}

std::string TerminalFilter::feed(std::string_view bytes) {
  std::string text = std::move(pending_);
  pending_.clear();
  for (const char c : bytes) take(c, text);
  const std::size_t unfinished = unfinished_character(text);
  pending_ = text.substr(text.size() - unfinished);
  text.resize(text.size() - unfinished);
  return repair_utf8(text);
}

std::string TerminalFilter::finish() {
  state_ = State::text;
  return repair_utf8(std::exchange(pending_, {}));
}

std::string collapse_overwritten(std::string_view text) {
  std::string collapsed;
  for (std::string_view line : split_lines_with_ends(text)) {
    const bool ends = line.ends_with('\n');
    if (ends) line.remove_suffix(1);
    while (line.ends_with('\r')) line.remove_suffix(1);
    collapsed += line.substr(line.rfind('\r') + 1);
    if (ends) collapsed += '\n';
  }
  return collapsed;
}

std::string fold_repeated_lines(std::string_view text) {
  const std::vector<std::string_view> lines = split_lines(text);
  std::vector<std::string> folded;
  for (std::size_t i = 0; i < lines.size();) {
    std::size_t end = i + 1;
    while (end < lines.size() && lines[end] == lines[i]) ++end;
    const std::size_t count = end - i;
    folded.insert(folded.end(), count >= kFoldFrom ? 1 : count, std::string(lines[i]));
    if (count >= kFoldFrom) {
      folded.push_back(fmt::format("… the line above {} times more", count - 1));
    }
    i = end;
  }
  return join(folded, "\n") + (text.ends_with('\n') ? "\n" : "");
}

std::string readable_output(std::string_view bytes) {
  if (is_binary(bytes)) {
    return fmt::format("(binary output, {})",
                       count_of(static_cast<std::int64_t>(bytes.size()), "byte"));
  }
  TerminalFilter filter;
  std::string text = filter.feed(bytes);
  text += filter.finish();
  text = fold_repeated_lines(collapse_overwritten(text));
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace fathom::tools
