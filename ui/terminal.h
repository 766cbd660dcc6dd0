// A turn as a person follows it in a terminal: thinking, calls, live output, diffs, one status
// line.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/events.h"
#include "ui/screen.h"

namespace fathom::ui {

struct TerminalOptions {
  ScreenOptions screen;
  std::function<std::int64_t()> now_ms;  // a clock that only moves forward
  bool verbose = false;                  // also the last lines of calls that succeed
  bool answer = true;                    // false: the answer goes elsewhere, do not show it
};

// Everything it shows comes from events; text of models and tools is made safe first. Calls may
// come from the turn's thread only, tick() from any thread.
class Terminal final : public agent::EventSink {
 public:
  explicit Terminal(TerminalOptions options);
  ~Terminal() override;

  void event(const agent::Event& event) override;
  void delta(const agent::Delta& delta) override;
  void live(const agent::Live& live) override;

  // Redraws what depends on the clock alone; to be called a few times a second while a turn runs.
  void tick();

  // Removes the live region; afterwards the terminal is as any program leaves it.
  void finish();

 private:
  class View;
  std::unique_ptr<View> view_;
};

// Whether the first of LC_ALL, LC_CTYPE and LANG that is not empty names UTF-8. Where none is set,
// nothing is known about the terminal, and those of today show UTF-8.
bool is_utf8_locale(std::string_view lc_all, std::string_view lc_ctype, std::string_view lang);

// Options for a real descriptor: width from the terminal, colour unless NO_COLOR is set or `color`
// is false, ASCII alone where the locale is not UTF-8, a live region only where `descriptor` is a
// terminal that can move its cursor and `plain` is false.
TerminalOptions terminal_options(int descriptor, bool color, bool plain);

}  // namespace fathom::ui
