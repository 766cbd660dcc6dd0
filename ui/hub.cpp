// Queues turns, runs them one after another, and remembers what commands caused.
#include "ui/hub.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <exception>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ui/server/live_conversation.h"

namespace fathom::ui {
namespace {

constexpr std::size_t kQueueMax = 64;          // then turns are refused with `busy`
constexpr std::size_t kRememberedMax = 1'024;  // command ids that are known again
constexpr std::size_t kTitleBytes = 120;

std::int64_t now_ms() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

std::string first_line(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  return line.substr(0, character_border(line, kTitleBytes));
}

std::string state_of(const std::string& result_status) {
  if (result_status == "answered") return "answered";
  return result_status == "cancelled" ? "stopped" : "failed";
}

Ack refusal(const Command& command, std::string code, std::string message, std::string hint = {}) {
  return {.id = command.id,
          .status = Ack::Status::refused,
          .conversation = command.conversation,
          .n = std::nullopt,
          .code = std::move(code),
          .message = std::move(message),
          .hint = std::move(hint)};
}

Ack done(const Command& command, Ack::Status status = Ack::Status::done) {
  Ack ack;
  ack.id = command.id;
  ack.status = status;
  ack.conversation = command.conversation;
  return ack;
}

// Passes a turn on to its conversation and tells the hub of every stored event.
class TurnSink final : public agent::EventSink {
 public:
  TurnSink(LiveConversation& conversation, std::function<void(const agent::Event&)> stored)
      : conversation_(conversation), stored_(std::move(stored)) {}

  void event(const agent::Event& event) override {
    stored_(event);
    conversation_.event(event);
  }
  void delta(const agent::Delta& delta) override { conversation_.delta(delta); }
  void live(const agent::Live& live) override { conversation_.live(live); }

 private:
  LiveConversation& conversation_;
  std::function<void(const agent::Event&)> stored_;
};

}  // namespace

class Hub::Watch {
 public:
  explicit Watch(std::function<void()> wake_up) : wake(std::move(wake_up)) {}
  const std::function<void()> wake;
};

Hub::Hub(AgentSource source) : source_(std::move(source)) {
  for (ConversationRow& row : source_.list()) {
    const std::string id = row.id;
    rows_.emplace(id, std::move(row));
  }
}

Hub::~Hub() {
  stop();
  worker_.request_stop();
  queue_changed_.notify_all();
}

void Hub::start() {
  worker_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

void Hub::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
    turn_stop_.request_stop();
  }
  changed();
}

bool Hub::idle() const {
  const std::lock_guard lock(mutex_);
  return running_.empty();
}

std::shared_ptr<Hub::Watch> Hub::watch(std::function<void()> wake) {
  auto watch = std::make_shared<Watch>(std::move(wake));
  const std::lock_guard lock(watch_mutex_);
  watches_.emplace_back(watch);
  return watch;
}

void Hub::changed() {
  const std::lock_guard lock(watch_mutex_);
  std::erase_if(watches_, [](const std::weak_ptr<Watch>& watch) {
    const auto alive = watch.lock();
    if (alive) alive->wake();
    return !alive;
  });
}

std::shared_ptr<LiveConversation> Hub::open(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    if (auto conversation = open_[id].lock()) return conversation;
    if (!rows_.contains(id)) {
      open_.erase(id);
      return nullptr;
    }
  }
  // Read without the lock: a long conversation must not hold up the turn that is running.
  auto conversation = std::make_shared<LiveConversation>(id, [this] { changed(); });
  conversation->extend(source_.events(id));
  const std::lock_guard lock(mutex_);
  if (auto other = open_[id].lock()) return other;
  open_[id] = conversation;
  return conversation;
}

// --- commands -----------------------------------------------------------------------------------

Ack Hub::command(const Command& command) {
  if (auto known = answer(command.id)) {
    known->status = Ack::Status::duplicate;
    return *known;
  }
  Ack ack;
  if (command.action == "turn") {
    ack = queue_turn(command);
  } else if (command.action == "stop") {
    ack = stop_turn(command);
  } else if (command.action == "unqueue") {
    ack = unqueue(command);
  } else if (command.action == "end_thinking" && source_.end_thinking) {
    ack = source_.end_thinking() ? done(command)
                                 : refusal(command, "not_thinking", "Nothing is being thought.");
  } else {
    ack = refusal(command, "command.unknown", "This server cannot do \"" + command.action + "\".");
  }
  // A refusal changed nothing, so the same command may be tried again. A turn is remembered when
  // it is queued: it may have begun by now.
  if (ack.status == Ack::Status::done) {
    const std::lock_guard lock(mutex_);
    remember(ack);
  }
  changed();
  return ack;
}

std::optional<Ack> Hub::answer(const std::string& command_id) const {
  const std::lock_guard lock(mutex_);
  const auto known = std::ranges::find(remembered_, command_id, &Ack::id);
  if (known == remembered_.end()) return std::nullopt;
  return *known;
}

Ack Hub::queue_turn(const Command& command) {
  if (command.text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return refusal(command, "turn.empty", "The message is empty.");
  }
  TurnRequest request{.conversation = command.conversation,
                      .cause = command.id,
                      .text = valid_utf8(command.text),
                      .mode = command.mode,
                      .think_budget = command.think_budget};
  // The conversation of a command that a process before this one has carried out, or begun to.
  if (request.conversation.empty()) {
    request.conversation = source_.made_by(command.id).value_or("");
  }
  bool ready = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return refusal(command, "stopping", "The server is shutting down.");
    if (engine_.stage == "failed") return refusal(command, "engine.failed", engine_.error);
    if (queue_.size() >= kQueueMax) {
      return refusal(command, "busy", "64 messages are waiting already.", "Wait for an answer.");
    }
    if (!request.conversation.empty() && !rows_.contains(request.conversation)) {
      return refusal(command, "conversation.unknown", "There is no such conversation.");
    }
    ready = engine_.stage == "ready";
  }
  const auto conversation = request.conversation.empty() ? nullptr : open(request.conversation);
  if (const auto turn = conversation ? conversation->turn_caused_by(command.id) : std::nullopt) {
    // Carried out by a process before this one.
    Ack known = done(command, Ack::Status::duplicate);
    known.conversation = request.conversation;
    known.n = turn;
    return known;
  }
  if (command.expected_n && conversation && conversation->head() != *command.expected_n) {
    return refusal(command, "moved", "The conversation went on while you were away.",
                   "Send it again.");
  }
  if (request.conversation.empty() && ready) begin_conversation(request);

  Ack ack = done(command, Ack::Status::queued);
  ack.conversation = request.conversation;
  if (!request.conversation.empty()) {
    change_row(request.conversation, [](ConversationRow& row) {
      if (row.state != "running") row.state = "queued";
    });
  }
  const std::lock_guard lock(mutex_);
  remember(ack);
  queue_.push_back(std::move(request));
  queue_changed_.notify_all();
  return ack;
}

// mutex_ is held.
void Hub::remember(const Ack& ack) {
  remembered_.push_back(ack);
  if (remembered_.size() > kRememberedMax) remembered_.pop_front();
}

// Gives the turn a conversation of its own. Only after loading: the store keeps for each which
// model it belongs to.
void Hub::begin_conversation(TurnRequest& request) {
  request.conversation = source_.create(request.cause);
  const std::lock_guard lock(mutex_);
  ConversationRow& row = rows_[request.conversation];
  row.id = request.conversation;
  row.title = first_line(request.text);
  row.updated_ms = now_ms();
  row_versions_[row.id] = ++version_;
}

Ack Hub::stop_turn(const Command& command) {
  std::shared_ptr<LiveConversation> conversation;
  {
    const std::lock_guard lock(mutex_);
    if (running_.empty() || running_ != command.conversation) {
      return refusal(command, "not_running", "Nothing is running here.");
    }
    turn_stop_.request_stop();
    conversation = open_[running_].lock();
  }
  if (conversation) conversation->stopping();
  return done(command);
}

// Takes back a message that waits; `text` names the command that sent it.
Ack Hub::unqueue(const Command& command) {
  const std::lock_guard lock(mutex_);
  const auto waiting = std::ranges::find(queue_, command.text, &TurnRequest::cause);
  if (waiting == queue_.end()) {
    return refusal(command, "not_waiting", "That message is not waiting any more.");
  }
  queue_.erase(waiting);
  const auto ack = std::ranges::find(remembered_, command.text, &Ack::id);
  if (ack != remembered_.end()) {
    ack->status = Ack::Status::refused;
    ack->code = "taken_back";
    ack->message = "Taken back.";
  }
  return done(command);
}

// --- the worker's thread
// --------------------------------------------------------------------------

void Hub::work(const std::stop_token& stop) {
  load();
  while (!stop.stop_requested()) {
    TurnRequest request;
    {
      std::unique_lock lock(mutex_);
      if (!queue_changed_.wait(lock, stop, [&] { return !queue_.empty(); })) return;
      if (stopping_) {
        queue_.clear();
        continue;
      }
      request = std::move(queue_.front());
      queue_.pop_front();
      if (!request.conversation.empty()) running_ = request.conversation;
      turn_stop_ = std::stop_source();
    }
    run(std::move(request));
  }
}

void Hub::load() {
  const auto report = [this](const EngineState& state) {
    {
      const std::lock_guard lock(mutex_);
      engine_ = state;
      ++engine_version_;
    }
    changed();
  };
  try {
    EngineState state = source_.load(report);
    state.stage = "ready";
    report(state);
  } catch (const std::exception& error) {
    EngineState state;
    {
      const std::lock_guard lock(mutex_);
      state = engine_;
    }
    state.stage = "failed";
    state.error = error.what();
    report(state);
    refuse_waiting(state.error);
  }
}

void Hub::refuse_waiting(const std::string& why) {
  const std::lock_guard lock(mutex_);
  for (const TurnRequest& request : queue_) settle(request.cause, why);
  queue_.clear();
}

// mutex_ is held.
void Hub::settle(const std::string& command_id, const std::string& why) {
  const auto ack = std::ranges::find(remembered_, command_id, &Ack::id);
  if (ack == remembered_.end()) return;
  ack->status = Ack::Status::refused;
  ack->code = "engine.failed";
  ack->message = why;
}

void Hub::run(TurnRequest request) {
  try {
    if (request.conversation.empty()) begin_conversation(request);
    const auto conversation = open(request.conversation);
    assert(conversation);  // its row was there when it was queued, and rows stay
    {
      const std::lock_guard lock(mutex_);
      running_ = request.conversation;
      const auto ack = std::ranges::find(remembered_, request.cause, &Ack::id);
      if (ack != remembered_.end()) ack->conversation = request.conversation;
    }
    change_row(request.conversation, [&](ConversationRow& row) {
      row.state = "running";
      if (row.title.empty()) row.title = first_line(request.text);
    });
    conversation->extend(source_.events(request.conversation));
    conversation->begin_turn();
    TurnSink sink(*conversation, [&](const agent::Event& event) { note(request, event); });
    const std::stop_token stop = turn_stop_.get_token();
    try {
      source_.run_turn(request, sink, stop);
    } catch (...) {
      conversation->end_turn();
      throw;
    }
    conversation->end_turn();
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    settle(request.cause, error.what());
  }
  change_row(request.conversation, [](ConversationRow& row) {
    if (row.state == "running") row.state = "failed";
  });
  {
    const std::lock_guard lock(mutex_);
    running_.clear();
  }
  changed();
}

// Keeps the list and the command's answer in step with the events of its turn.
void Hub::note(const TurnRequest& request, const agent::Event& event) {
  if (event.type == "turn") {
    const std::lock_guard lock(mutex_);
    const auto ack = std::ranges::find(remembered_, request.cause, &Ack::id);
    if (ack != remembered_.end() && ack->status != Ack::Status::refused) {
      ack->status = Ack::Status::done;
      ack->n = event.n;
    }
  }
  if (event.type != "turn" && event.type != "step" && event.type != "result") return;
  change_row(request.conversation, [&](ConversationRow& row) {
    row.updated_ms = now_ms();
    if (event.type == "turn") ++row.turns;
    if (event.type == "step") {
      ++row.steps;
      row.context_used = event.fields.value("context_used", row.context_used);
    }
    if (event.type == "result") row.state = state_of(event.fields.value("status", ""));
  });
}

// --- the list and the engine
// ----------------------------------------------------------------------

void Hub::change_row(const std::string& id, const std::function<void(ConversationRow&)>& change) {
  {
    const std::lock_guard lock(mutex_);
    const auto row = rows_.find(id);
    if (row == rows_.end()) return;
    change(row->second);
    row_versions_[id] = ++version_;
  }
  changed();
}

}  // namespace fathom::ui
