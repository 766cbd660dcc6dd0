// The event stream as JSON lines on a descriptor: for programs, trajectories and bug reports.
#pragma once

#include <functional>
#include <string_view>

#include "agent/events.h"

namespace fathom::ui {

// all: every stored event, one line each, in order. result: the last line alone.
enum class JsonLinesKind { all, result };

// A line is written whole before event() returns. Deltas have no number: they are not stored, and
// the event that closes their item repeats them.
//   {"v":1,"type":"delta","item":"t1.s2.think","kind":"thinking","turn":1,"step":2,"at":0,"text":…}
//   {"v":1,"type":"output","turn":1,"step":2,"call":1,"stream":"out","at":0,"text":…}
class JsonLines final : public agent::EventSink {
 public:
  // `descriptor` outlives it. `on_closed` is called once if nobody reads any more (EPIPE, a full
  // disk); whatever follows is dropped.
  JsonLines(int descriptor, JsonLinesKind kind, bool deltas, std::function<void()> on_closed = {});

  void event(const agent::Event& event) override;
  void delta(const agent::Delta& delta) override;

 private:
  void write(const nlohmann::ordered_json& line);

  const int descriptor_;
  const JsonLinesKind kind_;
  const bool deltas_;
  const std::function<void()> on_closed_;
  bool closed_ = false;
};

// Writes all of `text`; false if the descriptor takes no more.
bool write_all(int descriptor, std::string_view text) noexcept;

}  // namespace fathom::ui
