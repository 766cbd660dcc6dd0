// Every conversation that a server shows, and the one thread on which their turns run.
//
// The library does not know how a turn is made: the program lends it an AgentSource.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "agent/events.h"
#include "ui/wire.h"

namespace fathom::ui {

class LiveConversation;

// One line of the list of conversations.
struct ConversationRow {
  std::string id;
  std::string title;
  std::string state = "idle";  // idle queued running answered stopped failed
  int turns = 0;
  int steps = 0;
  int context_used = 0;
  std::int64_t updated_ms = 0;  // since 1970
  std::string workspace;
};

// What the engine is and how far it has been loaded.
struct EngineState {
  std::string stage = "map";  // map check copy warm, then ready or failed
  std::int64_t bytes = 0;
  std::int64_t total = 0;
  std::string model;  // file or folder
  std::string family;
  std::string backend;
  int threads = 0;
  std::int64_t context = 0;
  std::string sandbox;  // in words
  std::string error;    // with stage failed
};

struct TurnRequest {
  std::string conversation;
  std::string cause;  // id of the command
  std::string text;
  std::string mode;
  int think_budget = 0;
};

// How the program makes conversations and turns. `load` and `run_turn` are called on the hub's
// worker thread, the others on the server's thread; all may throw.
struct AgentSource {
  std::function<EngineState(const std::function<void(const EngineState&)>& progress)> load;
  std::function<std::vector<ConversationRow>()> list;
  std::function<std::vector<std::string>(const std::string& conversation)> events;  // JSON lines
  // Makes a conversation for the command `cause`, after `load` only; returns its id. made_by finds
  // it again, also in a later process.
  std::function<std::string(const std::string& cause)> create;
  std::function<std::optional<std::string>(const std::string& cause)> made_by;
  std::function<void(const TurnRequest&, agent::EventSink&, std::stop_token)> run_turn;
  std::function<bool()> end_thinking;  // of the running turn; empty: not supported
};

class Hub {
 public:
  explicit Hub(AgentSource source);
  ~Hub();  // stops the running turn and waits for it

  // Starts loading the engine and taking turns.
  void start();

  // The conversation, read from the store when it is not in use; nullptr if there is none.
  // Throws what the store throws if it is damaged.
  std::shared_ptr<LiveConversation> open(const std::string& id);

  // Carries a command out, once per id. A turn is queued: answer() tells how it went on.
  Ack command(const Command& command);
  std::optional<Ack> answer(const std::string& command_id) const;

  // The list as JSON: rows that match every word of `query`, newest first.
  std::string list(const std::string& query, int offset, int limit);

  // A `list` frame with the rows that changed since `version`, which is moved; empty: none did.
  std::string list_frame(std::int64_t& version) const;

  // The engine as JSON; `version` as above.
  std::string engine_json() const;
  std::string engine_frame(std::int64_t& version) const;

  // Calls `wake` after every change until the returned watch is gone. `wake` comes from any
  // thread and must only note that there is something to do.
  class Watch;
  std::shared_ptr<Watch> watch(std::function<void()> wake);

  // Takes no further turn and asks the running one to end.
  void stop();
  bool idle() const;  // no turn is running

 private:
  void work(const std::stop_token& stop);
  void load();
  void run(TurnRequest request);
  void note(const TurnRequest& request, const agent::Event& event);
  void begin_conversation(TurnRequest& request);
  void refuse_waiting(const std::string& why);
  void settle(const std::string& command_id, const std::string& why);
  Ack queue_turn(const Command& command);
  Ack stop_turn(const Command& command);
  Ack unqueue(const Command& command);
  void remember(const Ack& ack);
  void change_row(const std::string& id, const std::function<void(ConversationRow&)>& change);
  void changed();

  AgentSource source_;

  mutable std::mutex mutex_;
  std::condition_variable_any queue_changed_;
  // Guarded by mutex_.
  std::deque<TurnRequest> queue_;
  std::map<std::string, std::weak_ptr<LiveConversation>> open_;
  std::map<std::string, ConversationRow> rows_;
  std::map<std::string, std::int64_t> row_versions_;
  std::int64_t version_ = 0;
  std::deque<Ack> remembered_;  // answers to the last commands, for repeated ids
  EngineState engine_;
  std::int64_t engine_version_ = 0;
  std::string running_;  // conversation
  std::stop_source turn_stop_;
  bool stopping_ = false;

  std::mutex watch_mutex_;
  std::vector<std::weak_ptr<Watch>> watches_;

  std::jthread worker_;
};

}  // namespace fathom::ui
