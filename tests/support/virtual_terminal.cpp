// A terminal in memory: replays bytes through libvterm and tells what a person would see.
#include "tests/support/virtual_terminal.h"

#include <utf8proc.h>

namespace fathom::tests {

namespace {

std::string text_of(const VTermScreenCell* cells, int columns) {
  std::string line;
  for (int column = 0; column < columns; ++column) {
    const VTermScreenCell& cell = cells[column];
    if (cell.chars[0] == static_cast<std::uint32_t>(-1)) continue;  // right half of a wide cell
    if (cell.chars[0] == 0) line += ' ';
    for (int i = 0; i < VTERM_MAX_CHARS_PER_CELL && cell.chars[i] != 0; ++i) {
      utf8proc_uint8_t bytes[4];
      const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(cell.chars[i]), bytes);
      line.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    }
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

VirtualTerminal::VirtualTerminal(int rows, int columns)
    : rows_(rows), columns_(columns), terminal_(vterm_new(rows, columns)) {
  vterm_set_utf8(terminal_, 1);
  screen_ = vterm_obtain_screen(terminal_);
  callbacks_.sb_pushline = push_line;
  callbacks_.settermprop = set_property;
  vterm_screen_set_callbacks(screen_, &callbacks_, this);
  vterm_screen_reset(screen_, 1);
}

VirtualTerminal::~VirtualTerminal() {
  vterm_free(terminal_);
}

void VirtualTerminal::write(std::string_view bytes) {
  vterm_input_write(terminal_, bytes.data(), bytes.size());
}

std::vector<std::string> VirtualTerminal::lines() const {
  std::vector<std::string> lines = scrollback_;
  std::vector<VTermScreenCell> cells(static_cast<std::size_t>(columns_));
  for (int row = 0; row < rows_; ++row) {
    for (int column = 0; column < columns_; ++column) {
      vterm_screen_get_cell(screen_, {.row = row, .col = column},
                            &cells[static_cast<std::size_t>(column)]);
    }
    lines.push_back(text_of(cells.data(), columns_));
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

int VirtualTerminal::push_line(int columns, const VTermScreenCell* cells, void* self) {
  static_cast<VirtualTerminal*>(self)->scrollback_.push_back(text_of(cells, columns));
  return 1;
}

int VirtualTerminal::set_property(VTermProp property, VTermValue*, void* self) {
  if (property == VTERM_PROP_TITLE || property == VTERM_PROP_ICONNAME) {
    static_cast<VirtualTerminal*>(self)->title_changed_ = true;
  }
  return 1;
}

}  // namespace fathom::tests
