// All that a user interface ever sees of an agent (Event) or says to it (Input).
//
// One Event is one object of the stream of JSON lines, of a trajectory file and of the WebSocket:
// the same fields everywhere, so that a stored run looks exactly like a live one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace fathom::agent {

// One whole, numbered event: {"v":1,"n":…,"t":…,"type":…,…}. Fields: README of agent/.
struct Event {
  std::int64_t n = 0;  // contiguous per conversation, from 0
  std::int64_t t = 0;  // milliseconds since the program's start of this run
  std::string type;    // start turn prefill thinking text call outcome denied step note result …
  nlohmann::ordered_json fields;

  nlohmann::ordered_json json() const;  // with v, n, t and type in front
};

// Text that grows: a piece of an item that is still open. Not stored; its closing Event is.
struct Delta {
  std::string item = {};  // "t2.s7.think", "t2.s7.text", "t2.s7.k1.out"
  std::string kind = {};  // thinking, text, output, call
  int turn = 0;
  int step = 0;
  int call = 0;           // 0: none
  std::int64_t at = 0;    // offset in bytes inside the item
  std::string text = {};  // whole UTF-8 characters
};

// What the agent is doing now; sent at most every 100 ms, and at each change of phase.
struct Live {
  std::string phase = {};  // idle loading prefill thinking writing calling running stopping
  int turn = 0;
  int step = 0;
  std::int64_t since_ms = 0;
  int prefill_done = 0;
  int prefill_total = 0;  // tokens to compute, without the reused ones
  int reused = 0;
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
  int thinking_tokens = 0;
  int context_used = 0;
  std::int64_t context_limit = 0;
  std::string mode_used = {};
};

// Receives everything a turn does, on the turn's thread and in order. Must not block for long:
// generation waits for it.
class EventSink {
 public:
  EventSink() = default;
  EventSink(const EventSink&) = delete;
  EventSink& operator=(const EventSink&) = delete;
  virtual ~EventSink() = default;

  virtual void event(const Event& event) = 0;
  virtual void delta(const Delta& delta) { static_cast<void>(delta); }
  virtual void live(const Live& live) { static_cast<void>(live); }
};

}  // namespace fathom::agent
