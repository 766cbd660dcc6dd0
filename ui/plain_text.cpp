// Text of models, tools and files made safe to show: never terminal control, measured in cells.
#include "ui/plain_text.h"

#include <algorithm>
#include <array>

#include <utf8proc.h>

namespace fathom::ui {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr int kTabCells = 4;

struct CodePoint {
  utf8proc_int32_t value;  // -1: not UTF-8
  std::size_t bytes;
};

CodePoint first_code_point(std::string_view text) noexcept {
  utf8proc_int32_t value = -1;
  const auto read = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &value);
  if (read <= 0) return {-1, 1};
  return {value, static_cast<std::size_t>(read)};
}

// Characters that reorder what stands beside them, so that code reads differently from what it is.
bool is_bidi_control(utf8proc_int32_t c) noexcept {
  return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

void append_code_point(std::string& out, utf8proc_int32_t value) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto size = utf8proc_encode_char(value, bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size));
}

void append_visible(std::string& out, CodePoint c, std::string_view bytes) {
  constexpr utf8proc_int32_t kControlPictures = 0x2400;  // U+2400 shows NUL, and so on
  if (c.value < 0) {
    out += kReplacement;
  } else if (c.value == '\n' || c.value == '\t') {
    out += static_cast<char>(c.value);
  } else if (c.value < 0x20) {
    append_code_point(out, kControlPictures + c.value);
  } else if (c.value == 0x7F) {
    append_code_point(out, 0x2421);
  } else if ((c.value >= 0x80 && c.value < 0xA0) || is_bidi_control(c.value) || c.value == 0x2028 ||
             c.value == 0x2029) {
    out += kReplacement;
  } else {
    out += bytes;
  }
}

// Cells of one cluster: its widest code point; emoji presentation and flags take two.
class ClusterWidth {
 public:
  void add(utf8proc_int32_t c) noexcept {
    width_ = std::max(width_, utf8proc_charwidth(c));
    if (c >= 0x1F1E6 && c <= 0x1F1FF) ++regional_indicators_;
    if (c == 0xFE0F || regional_indicators_ == 2) width_ = 2;
  }
  int cells() const noexcept { return width_; }

 private:
  int width_ = 0;
  int regional_indicators_ = 0;
};

struct Cluster {
  std::size_t bytes;
  int cells;
};

Cluster first_cluster(std::string_view text) noexcept {
  utf8proc_int32_t state = 0;
  CodePoint previous = first_code_point(text);
  std::size_t end = previous.bytes;
  ClusterWidth width;
  width.add(std::max(previous.value, 0));
  while (end < text.size()) {
    const CodePoint next = first_code_point(text.substr(end));
    if (next.value < 0 || previous.value < 0 ||
        utf8proc_grapheme_break_stateful(previous.value, next.value, &state)) {
      break;
    }
    width.add(next.value);
    end += next.bytes;
    previous = next;
  }
  return {end, width.cells()};
}

// What stands for a character where only ASCII is shown.
char ascii_twin(utf8proc_int32_t c) noexcept {
  if (c >= 0 && c < 0x80) return static_cast<char>(c);
  struct Twin {
    utf8proc_int32_t shown;
    char ascii;
  };
  constexpr std::array kTwins = {
      Twin{U'✓', '*'},  Twin{U'✗', 'x'},  Twin{U'⛔', '!'}, Twin{U'◐', '>'}, Twin{U'◆', '!'},
      Twin{U'·', '-'},  Twin{U'░', '|'},  Twin{U'▕', '['}, Twin{U'█', '#'}, Twin{U'▏', ']'},
      Twin{U'−', '-'},  Twin{U'–', '-'},  Twin{U'—', '-'}, Twin{U'•', '*'}, Twin{U'→', '>'},
      Twin{U'‘', '\''}, Twin{U'’', '\''}, Twin{U'“', '"'}, Twin{U'”', '"'}, Twin{U'\u00a0', ' '}};
  const auto twin = std::ranges::find(kTwins, c, &Twin::shown);
  if (twin != kTwins.end()) return twin->ascii;
  std::array<utf8proc_int32_t, 4> parts = {c};  // of an accented letter the letter comes first
  int unused = 0;
  utf8proc_decompose_char(c, parts.data(), std::ssize(parts), UTF8PROC_DECOMPOSE, &unused);
  return parts[0] >= 0 && parts[0] < 0x80 ? static_cast<char>(parts[0]) : '?';
}

std::string expand_tabs(std::string_view line) {
  std::string out;
  for (const char c : line) {
    if (c != '\t') {
      out += c;
      continue;
    }
    out.append(static_cast<std::size_t>(kTabCells - cells(out) % kTabCells), ' ');
  }
  return out;
}

void wrap_line(std::string_view line, int cells_max, std::vector<std::string>& lines) {
  while (true) {
    const std::string_view fits = clip(line, cells_max);
    if (fits.size() == line.size()) {
      lines.emplace_back(line);
      return;
    }
    // A blank right behind the piece is a break too.
    auto end = line[fits.size()] == ' ' ? fits.size() : fits.rfind(' ');
    if (end == std::string_view::npos || end == 0) end = fits.size();
    if (end == 0) end = first_cluster(line).bytes;  // one wide character in a very narrow column
    lines.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (line.empty()) return;
  }
}

}  // namespace

std::string visible(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    append_visible(out, c, text.substr(0, c.bytes));
    text.remove_prefix(c.bytes);
  }
  return out;
}

int cells(std::string_view text) noexcept {
  int total = 0;
  while (!text.empty()) {
    const Cluster cluster = first_cluster(text);
    total += cluster.cells;
    text.remove_prefix(cluster.bytes);
  }
  return total;
}

std::string_view clip(std::string_view text, int cells_max) noexcept {
  std::size_t end = 0;
  int used = 0;
  while (end < text.size()) {
    const Cluster cluster = first_cluster(text.substr(end));
    if (used + cluster.cells > cells_max) break;
    used += cluster.cells;
    end += cluster.bytes;
  }
  return text.substr(0, end);
}

std::string shorten(std::string_view text, int cells_max) {
  if (clip(text, cells_max).size() == text.size()) return std::string(text);
  if (cells_max < 1) return "";
  return std::string(clip(text, cells_max - 1)) + "…";
}

std::string ascii(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Cluster cluster = first_cluster(text);
    const utf8proc_int32_t first = first_code_point(text).value;
    if (first == U'…') {
      out += "...";
    } else if (first < 0x80 || cluster.cells > 0) {
      out += ascii_twin(first);
    }
    text.remove_prefix(cluster.bytes);
  }
  return out;
}

std::string ascii_row(std::string_view row) {
  std::string out;
  while (!row.empty()) {
    const Cluster cluster = first_cluster(row);
    const utf8proc_int32_t first = first_code_point(row).value;
    if (first == U'…') {
      out.resize(out.size() - std::min<std::size_t>(out.size(), 2));
      out += "...";
    } else if (cluster.cells > 0) {
      out += ascii_twin(first);
      out.append(static_cast<std::size_t>(cluster.cells - 1), ' ');
    }
    row.remove_prefix(cluster.bytes);
  }
  return out;
}

std::vector<std::string> wrap(std::string_view text, int cells_max) {
  std::vector<std::string> lines;
  for (const std::string_view line : split_lines(text)) {
    wrap_line(expand_tabs(line), std::max(cells_max, 1), lines);
  }
  return lines;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace fathom::ui
