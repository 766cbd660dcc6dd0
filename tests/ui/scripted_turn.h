// A turn without a model: the same events, deltas and states as a real one, at a given pace.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>

#include "agent/events.h"
#include "ui/hub.h"

namespace fathom::ui {

struct Script {
  std::string thinking = "The test expects 4 and gets 5. I look at add() first.";
  std::string answer = "`add` subtracted. It **adds** now, and the test passes.";
  std::chrono::milliseconds per_word{0};  // of thinking and answer
  int steps = 2;                          // the last one answers, the others call
};

// Writes one turn to `sink`, numbered from `n` on: thinking, a call with output and a changed
// file, then an answer. Ends early, with a result, when `stop` is requested.
void play(const Script& script, const TurnRequest& request, std::int64_t n, int turn,
          agent::EventSink& sink, const std::stop_token& stop);

// A source of conversations that plays `script` for every turn and keeps what it played.
AgentSource scripted_source(const Script& script);

}  // namespace fathom::ui
