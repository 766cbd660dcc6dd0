// What the wire makes of one stored event: its short form, the item it closes, its row in the
// step index; and the state line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "agent/events.h"

namespace fathom::ui {

struct WireEvent {
  std::string line;       // the whole event, one JSON object
  std::string shortened;  // for a frame, where a text is long; else empty
};

// A text above 16 KiB is sent as its head and tail; "cut" says how much there is:
// {"cut":{"text":{"head":8192,"tail":8192,"bytes":70000}}}. Names inside "arguments" are written
// "arguments.NAME", diffs of files "files.0.diff".
WireEvent wire_event(const nlohmann::ordered_json& event);

// The growing text that `event` ends: "t2.s7.think", "t2.s7.text", "t2.s7.k1", "t2.s7.k1.out".
// Empty for events that end none.
std::string item_closed_by(const nlohmann::ordered_json& event);

// The whole text of the item that `event` closed.
std::string text_of_item(const nlohmann::ordered_json& event);

// `elapsed_ms`: how long the phase has lasted.
std::string live_frame(const std::string& conversation, const agent::Live& live,
                       std::int64_t elapsed_ms);

// Columns over steps, integers, filled from stored events in order.
class StepIndex {
 public:
  void add(const nlohmann::ordered_json& event);
  std::string json() const;

 private:
  nlohmann::ordered_json columns_ = nlohmann::ordered_json::object();
  int calls_ = 0;
  int flags_ = 0;
  std::string title_;
};

}  // namespace fathom::ui
