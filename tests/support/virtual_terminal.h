// A terminal in memory: replays bytes through libvterm and tells what a person would see.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <vterm.h>

namespace fathom::tests {

class VirtualTerminal {
 public:
  VirtualTerminal(int rows, int columns);
  ~VirtualTerminal();
  VirtualTerminal(const VirtualTerminal&) = delete;
  VirtualTerminal& operator=(const VirtualTerminal&) = delete;

  void write(std::string_view bytes);

  // Scrollback and screen, top to bottom, blanks at line ends and empty lines at the end removed.
  std::vector<std::string> lines() const;

  // Whether anything tried to set the title or an icon name.
  bool title_changed() const noexcept { return title_changed_; }

 private:
  static int push_line(int columns, const VTermScreenCell* cells, void* self);
  static int set_property(VTermProp property, VTermValue* value, void* self);

  int rows_, columns_;
  VTerm* terminal_;
  VTermScreen* screen_;
  VTermScreenCallbacks callbacks_ = {};
  std::vector<std::string> scrollback_;
  bool title_changed_ = false;
};

}  // namespace fathom::tests
