// One conversation as connections see it: its stored events, its open items and what it is doing
// now. There is no queue per client: each holds a cursor, and a frame is cut from there to now.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/events.h"
#include "ui/wire.h"

namespace fathom::ui {

using Clock = std::chrono::steady_clock;

// Where one client is in one conversation. At most a few KiB: an offset per open item.
struct Cursor {
  struct Item {
    std::int64_t at = 0;            // bytes sent
    bool introduced = false;        // kind, step and call were sent
    Clock::time_point next_tail{};  // with Detail::tail: not before
  };

  std::int64_t n = -1;
  std::map<std::string, Item> items;
  Want want;
  std::string last_item;           // deltas go round robin, on from here
  std::int64_t live_version = -1;  // the state line sent last
  Clock::time_point next_live{};
};

class LiveConversation final : public agent::EventSink {
 public:
  // `changed` is called from any thread, without locks held, after each change.
  LiveConversation(std::string id, std::function<void()> changed);

  // Appends stored events, one JSON object each, that are not known yet: fills a conversation
  // from the store, also before a turn, when another program may have gone on with it.
  void extend(const std::vector<std::string>& lines);

  // A turn runs between begin_turn and end_turn.
  void begin_turn();
  void event(const agent::Event& event) override;
  void delta(const agent::Delta& delta) override;
  void live(const agent::Live& live) override;
  void end_turn();
  void stopping();

  // Cuts the next frames for `cursor` and moves it: stored events, then deltas, then the state
  // line, each its own frame. Empty when there is nothing to say at `now`.
  std::vector<std::string> cut(Cursor& cursor, Clock::time_point now) const;

  // When `cut` has more to say though nothing changes: a tail or a state line that is due.
  std::optional<Clock::time_point> due(const Cursor& cursor) const;

  // A cursor for a subscription: its own position, or the beginning of the last 40 steps.
  Cursor cursor_for(const Subscription& subscription) const;

  const std::string& id() const { return id_; }
  std::int64_t head() const;  // n of the last stored event, -1: none
  bool running() const;

  // The n of the turn that a command began, which its event keeps as `cause`.
  std::optional<std::int64_t> turn_caused_by(const std::string& command) const;

  // Stored events [from, to] by n, one JSON object per line.
  std::string lines(std::int64_t from, std::int64_t to) const;

  // The n of the first event of the step that is `step`-th in the conversation, from 0.
  std::int64_t first_event_of_step(int step) const;

  // All bytes so far of an item, open or stored.
  std::optional<std::string> item_text(const std::string& item) const;

  // One column per property, one entry per step (section 7 of the protocol).
  std::string step_index() const;

 private:
  struct Stored {
    std::string line;  // the whole event
    std::string wire;  // shortened, where a text is long; else empty
  };

  struct Item {
    std::string kind;
    int turn = 0;
    int step = 0;
    int call = 0;
    std::int64_t t = 0;
    std::string text;
  };

  void change_phase(const agent::Live& live);
  void store(const nlohmann::ordered_json& event);
  std::optional<std::string> cut_events(Cursor& cursor) const;
  std::optional<std::string> cut_deltas(Cursor& cursor, Clock::time_point now) const;
  std::optional<std::string> cut_live(Cursor& cursor, Clock::time_point now) const;
  Detail detail(const Cursor& cursor, const Item& item) const;

  const std::string id_;
  const std::function<void()> changed_;

  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<Stored> events_;
  std::vector<std::int64_t> step_ends_;  // n of each `step` event
  std::map<std::string, Item> open_;
  agent::Live live_;
  std::int64_t live_version_ = 0;
  Clock::time_point phase_began_{};
  std::map<std::string, std::int64_t> causes_;  // n of each turn by the command that began it
  bool running_ = false;
};

}  // namespace fathom::ui
