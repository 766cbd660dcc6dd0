// Keeps typed characters, and the ^C of an interrupt, off the screen while a turn is drawn there.
#pragma once

#include <optional>

#include <termios.h>

namespace fathom::ui {

// They would move the cursor, and rows that are drawn again would be drawn elsewhere. One per
// process; does nothing where standard input is no terminal or this process is in the background,
// whom the kernel would stop for it.
class QuietInput {
 public:
  explicit QuietInput(bool wanted);
  ~QuietInput() { restore(); }
  QuietInput(const QuietInput&) = delete;
  QuietInput& operator=(const QuietInput&) = delete;

  void restore() const noexcept;  // before its end, for a process without one

 private:
  std::optional<termios> before_;
};

}  // namespace fathom::ui
