// One WebSocket's side of the protocol, without the socket: frames in, frames out, deadlines.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ui/server/live_conversation.h"
#include "ui/wire.h"

namespace fathom::ui {

class Hub;

enum class Role { view, control };

// Used by one thread.
class Connection {
 public:
  Connection(Hub& hub, Role role, std::string epoch, Clock::time_point now);

  // Takes a frame of the client. A close code ends the connection.
  std::optional<Refusal> receive(std::string_view frame, Clock::time_point now);

  // The next frame to write at `now`, if there is one. Answers come at once; what a conversation
  // says is cut at most every 33 ms, so that it comes in few frames however fast it grows.
  std::optional<std::string> next_frame(Clock::time_point now);

  // When to ask again if nothing happens before.
  Clock::time_point due(Clock::time_point now) const;

  // Set when the client has not said hello in time.
  std::optional<Refusal> overdue(Clock::time_point now) const;

 private:
  struct Followed {
    std::shared_ptr<LiveConversation> conversation;
    Cursor cursor;
  };

  void take(const ClientHello& hello);
  std::optional<Refusal> take(const Subscription& subscription);
  void take(const Command& command, Clock::time_point now);
  bool within_rate(Clock::time_point now);
  void cut(Clock::time_point now);
  void add_answers();

  Hub& hub_;
  const Role role_;
  const std::string epoch_;
  const Clock::time_point opened_;

  bool greeted_ = false;
  std::map<std::string, Followed> followed_;
  std::string last_followed_;           // conversations take turns too
  std::deque<std::string> frames_;      // cut or answered, not yet written
  std::map<std::string, Ack> waiting_;  // answers sent for queued turns of this client
  std::deque<Clock::time_point> commands_;
  std::int64_t list_version_ = 0;
  std::int64_t engine_version_ = 0;
  Clock::time_point last_frame_{};
  Clock::time_point last_cut_{};
};

}  // namespace fathom::ui
