// What a real terminal can do: asked of the kernel and the environment, once.
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>

#include <sys/ioctl.h>
#include <unistd.h>

#include "ui/terminal.h"

namespace fathom::ui {

namespace {

constexpr int kColumnsUnknown = 80;
constexpr int kRowsUnknown = 24;

bool set_and_not_empty(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

winsize window(int descriptor) {
  winsize size = {};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return {};
  return size;
}

// A terminal that is gone or full must not end the turn: what it would have shown is lost, no more.
void write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool can_move_cursor(int descriptor) {
  const char* term = std::getenv("TERM");
  return ::isatty(descriptor) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

std::int64_t steady_ms() {
  using std::chrono::milliseconds;
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(since).count();
}

}  // namespace

TerminalOptions terminal_options(int descriptor, bool color, bool plain) {
  const bool live = !plain && can_move_cursor(descriptor);
  const bool forced = set_and_not_empty("CLICOLOR_FORCE");
  return {
      .screen = {.write = [descriptor](std::string_view bytes) { write_all(descriptor, bytes); },
                 .columns =
                     [descriptor] {
                       const int columns = window(descriptor).ws_col;
                       return columns > 0 ? columns : kColumnsUnknown;
                     },
                 .rows =
                     [descriptor] {
                       const int rows = window(descriptor).ws_row;
                       return rows > 0 ? rows : kRowsUnknown;
                     },
                 .live = live,
                 .color = color && !set_and_not_empty("NO_COLOR") &&
                          (forced || can_move_cursor(descriptor))},
      .now_ms = steady_ms,
  };
}

}  // namespace fathom::ui
