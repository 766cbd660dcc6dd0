// Switches the terminal's echo off and on again.
#include "ui/commands/quiet_input.h"

#include <unistd.h>

namespace fathom::ui {
namespace {

bool in_foreground() noexcept {
  return ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
}

}  // namespace

QuietInput::QuietInput(bool wanted) {
  termios now = {};
  if (!wanted || ::tcgetattr(STDIN_FILENO, &now) != 0 || !in_foreground()) return;
  before_ = now;
  now.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &now);
}

void QuietInput::restore() const noexcept {
  if (before_ && in_foreground()) ::tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
}

}  // namespace fathom::ui
