// The inline screen: finished lines go to the scrollback once, a small live region is redrawn.
#include "ui/screen.h"

#include <algorithm>

#include <fmt/format.h>

#include "ui/plain_text.h"

namespace fathom::ui {

namespace {

constexpr int kLiveRowsMax = 12;

// Terminals that do not know mode 2026 ignore it; those that do show no half-drawn frame.
constexpr std::string_view kBeginFrame = "\x1b[?2026h";
constexpr std::string_view kEndFrame = "\x1b[?2026l";

std::string_view sgr(Style style) noexcept {
  switch (style) {
    case Style::dim:
      return "\x1b[2m";
    case Style::bold:
      return "\x1b[1m";
    case Style::red:
      return "\x1b[31m";
    case Style::green:
      return "\x1b[32m";
    case Style::yellow:
      return "\x1b[33m";
    case Style::magenta:
      return "\x1b[35m";
    case Style::cyan:
      return "\x1b[36m";
    case Style::reversed:
      return "\x1b[7m";
    case Style::plain:
      break;
  }
  return "";
}

}  // namespace

Screen::Screen(ScreenOptions options) : options_(std::move(options)) {}

int Screen::columns() const {
  return std::max(options_.columns(), 1);
}

std::string Screen::rendered(const Row& row, int cells_max) const {
  std::string out;
  int left = cells_max;
  for (const Span& span : row) {
    std::string text = cells_max < 0 ? span.text : shorten(span.text, left);
    if (!options_.utf8) text = ascii_row(text);
    left -= cells(text);
    const std::string_view style = options_.color ? sgr(span.style) : "";
    out += fmt::format("{}{}{}", style, text, style.empty() ? "" : "\x1b[0m");
    if (cells_max >= 0 && left <= 0) break;
  }
  return out;
}

std::string Screen::erase_live() const {
  if (drawn_ == 0) return "";
  // The cursor rests at the end of the region's last row.
  if (drawn_ == 1) return "\r\x1b[J";
  return fmt::format("\r\x1b[{}A\x1b[J", drawn_ - 1);
}

std::string Screen::draw_live() {
  const int allowed = std::clamp(options_.rows() / 3, 1, kLiveRowsMax);
  const auto count = std::min<std::ptrdiff_t>(std::ssize(wanted_), allowed);
  drawn_ = static_cast<int>(count);
  std::string out;
  for (auto row = wanted_.end() - count; row != wanted_.end(); ++row) {
    if (!out.empty()) out += "\r\n";
    // One cell stays free: a full row would make some terminals wrap and the count wrong.
    out += rendered(*row, columns() - 1);
  }
  return out;
}

void Screen::commit(const std::vector<Row>& rows) {
  if (rows.empty()) return;
  std::string out;
  if (options_.live) out += std::string(kBeginFrame) + erase_live();
  for (const Row& row : rows) {
    out += rendered(row, -1);
    out += options_.live ? "\r\n" : "\n";
  }
  if (options_.live) out += draw_live() + std::string(kEndFrame);
  options_.write(out);
}

void Screen::show(std::vector<Row> rows) {
  if (!options_.live || (rows.empty() && drawn_ == 0)) return;
  std::string out = std::string(kBeginFrame) + erase_live();
  wanted_ = std::move(rows);
  out += draw_live();
  options_.write(out + std::string(kEndFrame));
}

}  // namespace fathom::ui
