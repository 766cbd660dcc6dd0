// The inline screen: finished lines go to the scrollback once; below them a small live region is
// the only thing that is ever redrawn.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::ui {

enum class Style { plain, dim, bold, red, green, yellow, magenta, cyan, reversed };

// A run of text in one style. The text must be safe (see visible()) and hold no newline.
struct Span {
  std::string text;
  Style style = Style::plain;
};

using Row = std::vector<Span>;

struct ScreenOptions {
  std::function<void(std::string_view bytes)> write;  // one call per change, already complete
  std::function<int()> columns;                       // asked before every drawing
  std::function<int()> rows;
  bool live = true;   // false: finished lines only, no cursor movement at all
  bool color = true;  // false: no SGR sequences
  bool utf8 = true;  // false: ASCII alone; the text in rows is ASCII then, marks become their twins
};

// Used by one thread at a time. Writes only: newline, carriage return, cursor up within the live
// region, erase to the end of the screen, SGR, and synchronized output marks.
class Screen {
 public:
  explicit Screen(ScreenOptions options);

  // Adds finished rows above the live region; they are never touched again.
  void commit(const std::vector<Row>& rows);

  // Replaces the live region. At most 12 rows and a third of the screen are shown, the last ones;
  // each is cut to the width. Does nothing where there is no live region.
  void show(std::vector<Row> rows);

  // Removes the live region, so that the cursor stands at the start of an empty line.
  void clear() { show({}); }

  int columns() const;
  bool live() const noexcept { return options_.live; }

 private:
  std::string rendered(const Row& row, int cells_max) const;
  std::string erase_live() const;
  std::string draw_live();

  const ScreenOptions options_;
  std::vector<Row> wanted_;  // the live region as it was asked for
  int drawn_ = 0;            // rows of it on the screen
};

}  // namespace fathom::ui
