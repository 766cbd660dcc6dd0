// What a real terminal can do: asked of the kernel and the environment, once.
#include <cctype>
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

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
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
  const std::string_view term = environment("TERM");
  return ::isatty(descriptor) == 1 && !term.empty() && term != "dumb";
}

std::int64_t steady_ms() {
  using std::chrono::milliseconds;
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(since).count();
}

}  // namespace

bool is_utf8_locale(std::string_view lc_all, std::string_view lc_ctype, std::string_view lang) {
  const std::string_view first = !lc_all.empty() ? lc_all : !lc_ctype.empty() ? lc_ctype : lang;
  std::string name;  // "en_US.UTF-8", "de_DE.utf8@euro" without what differs in spelling
  for (const char c : first) {
    if (c != '-') name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return name.empty() || name.find("utf8") != std::string::npos;
}

TerminalOptions terminal_options(int descriptor, bool color, bool plain) {
  const bool live = !plain && can_move_cursor(descriptor);
  const bool forced = !environment("CLICOLOR_FORCE").empty();
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
                 .color = color && environment("NO_COLOR").empty() &&
                          (forced || can_move_cursor(descriptor)),
                 .utf8 = is_utf8_locale(environment("LC_ALL"), environment("LC_CTYPE"),
                                        environment("LANG"))},
      .now_ms = steady_ms,
  };
}

}  // namespace fathom::ui
