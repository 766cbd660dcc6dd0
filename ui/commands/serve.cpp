// `fathom serve`: connects the page's server to the agents of one workspace.
#include "ui/commands/serve.h"

#include <charconv>
#include <cstdio>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "agent/agent.h"
#include "memory/store.h"
#include "ui/commands/assembly.h"
#include "ui/commands/usage_error.h"
#include "ui/hub.h"
#include "ui/server.h"
#include "ui/server/tokens.h"

namespace fathom::ui {

namespace {

namespace fs = std::filesystem;

// Agents that keep their engine session, so that going on in a conversation prefills only what is
// new; older ones are built again from the store.
constexpr std::size_t kAgentsMax = 4;

constexpr int kConversationsMax = 10'000;

// What an agent writes to, while the hub lends a sink for each turn.
class Relay final : public agent::EventSink {
 public:
  void event(const agent::Event& event) override {
    if (sink != nullptr) sink->event(event);
  }
  void delta(const agent::Delta& delta) override {
    if (sink != nullptr) sink->delta(delta);
  }
  void live(const agent::Live& live) override {
    if (sink != nullptr) sink->live(live);
  }

  agent::EventSink* sink = nullptr;
};

struct Seat {
  std::unique_ptr<Relay> relay;
  std::unique_ptr<agent::Agent> agent;  // before the relay it writes to is gone
};

std::string state_of(const std::string& status) {
  if (status.empty()) return "idle";
  if (status == "answered") return "answered";
  return status == "cancelled" ? "stopped" : "failed";
}

// The conversations of one workspace and the agents that go on with them.
class Office {
 public:
  explicit Office(const ServeOptions& options)
      : options_(options),
        workspace_(fs::canonical(options.workspace)),
        store_(options.store.empty() ? memory::Store::default_path() : options.store) {}

  EngineState load(const std::function<void(const EngineState&)>& progress) {
    EngineState state;
    state.model = options_.model.path;
    state.sandbox = options_.sandbox;
    AssemblyOptions assembly;
    assembly.model = options_.model;
    assembly.cache = options_.cache;
    assembly.workspace = workspace_;
    assembly.sandbox = options_.sandbox;
    assembly.store = options_.store;
    assembly.on_progress = [&](std::int64_t bytes, std::int64_t total) {
      state.stage = "copy";
      state.bytes = bytes;
      state.total = total;
      progress(state);
    };
    try {
      assembly_ = std::make_unique<Assembly>(assembly);
    } catch (const std::exception& error) {
      // The page says it too, and still shows what is stored.
      fmt::print(stderr, "fathom: {}\n", error.what());
      throw;
    }
    state.model = assembly_->model_name();
    state.backend = assembly_->engine().kernels();
    state.threads = assembly_->engine().threads();
    state.context = assembly_->engine().config().max_position_embeddings;
    return state;
  }

  std::vector<ConversationRow> list() const {
    std::vector<ConversationRow> rows;
    for (const auto& record : store_.list(kConversationsMax, workspace_.string())) {
      rows.push_back({.id = record.id,
                      .title = record.title,
                      .state = state_of(record.status),
                      .turns = record.turns,
                      .steps = record.steps,
                      .context_used = 0,
                      .updated_ms = record.updated_ms,
                      .workspace = record.workspace});
    }
    return rows;
  }

  std::vector<std::string> events(const std::string& conversation) const {
    std::vector<std::string> lines;
    for (auto& event : store_.events(conversation)) lines.push_back(std::move(event.json));
    return lines;
  }

  std::string create(const std::string& cause) {
    Seat seat{.relay = std::make_unique<Relay>(), .agent = nullptr};
    seat.agent = assembly_->start(*seat.relay, cause);
    std::string id = seat.agent->conversation();
    const std::lock_guard lock(mutex_);
    keep(std::move(seat));
    return id;
  }

  std::optional<std::string> made_by(const std::string& cause) const {
    return store_.made_by(cause);
  }

  void run_turn(const TurnRequest& request, agent::EventSink& sink, const std::stop_token& stop) {
    Seat seat = take(request.conversation);
    seat.relay->sink = &sink;
    const auto mode = agent::mode_by_name(request.mode.empty() ? "auto" : request.mode);
    seat.agent->run_turn({.text = request.text,
                          .mode = mode.value_or(agent::Mode::automatic),
                          .cause = request.cause},
                         stop);
    seat.relay->sink = nullptr;
    const std::lock_guard lock(mutex_);
    keep(std::move(seat));
  }

 private:
  Seat take(const std::string& conversation) {
    {
      const std::lock_guard lock(mutex_);
      for (auto seat = seats_.begin(); seat != seats_.end(); ++seat) {
        if (seat->agent->conversation() != conversation) continue;
        Seat found = std::move(*seat);
        seats_.erase(seat);
        return found;
      }
    }
    Seat seat{.relay = std::make_unique<Relay>(), .agent = nullptr};
    seat.agent = assembly_->resume(conversation, *seat.relay);
    return seat;
  }

  // mutex_ is held.
  void keep(Seat seat) {
    seats_.push_front(std::move(seat));
    if (seats_.size() > kAgentsMax) seats_.pop_back();
  }

  const ServeOptions options_;
  const fs::path workspace_;
  memory::Store store_;
  std::unique_ptr<Assembly> assembly_;  // after load(), which comes before any turn

  std::mutex mutex_;
  std::list<Seat> seats_;  // guarded by mutex_; last used first
};

AgentSource source_of(Office& office) {
  AgentSource source;
  source.load = [&](const auto& progress) { return office.load(progress); };
  source.list = [&] { return office.list(); };
  source.events = [&](const std::string& conversation) { return office.events(conversation); };
  source.create = [&](const std::string& cause) { return office.create(cause); };
  source.made_by = [&](const std::string& cause) { return office.made_by(cause); };
  source.run_turn = [&](const TurnRequest& request, agent::EventSink& sink,
                        const std::stop_token& stop) { office.run_turn(request, sink, stop); };
  return source;
}

// "127.0.0.1:7777", "[::1]:7777", "7777".
void parse_listen(const std::string& text, ServerOptions& server) {
  const auto colon = text.rfind(':');
  std::string_view address = std::string_view(text).substr(0, colon == text.npos ? 0 : colon);
  const std::string_view port = std::string_view(text).substr(colon == text.npos ? 0 : colon + 1);
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  const char* end = port.data() + port.size();
  const auto parsed = std::from_chars(port.data(), end, server.port);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    throw UsageError("--listen needs an address and a port, such as 127.0.0.1:7777, not \"" + text +
                     "\"");
  }
  if (!address.empty()) server.address = address;
}

std::unique_ptr<Server> listen(const ServerOptions& options, Hub& hub) {
  try {
    return std::make_unique<Server>(options, hub);
  } catch (const std::invalid_argument& wrong) {
    throw UsageError(wrong.what());
  }
}

}  // namespace

int serve(const ServeOptions& options) {
  ServerOptions server_options;
  parse_listen(options.listen, server_options);
  server_options.hosts = options.hosts;
  server_options.origins = options.origins;
  server_options.insecure_plain_http = options.insecure_plain_http;
  server_options.tokens = load_tokens(tokens_path(), options.new_token);

  Office office(options);
  Hub hub(source_of(office));
  const std::unique_ptr<Server> server = listen(server_options, hub);
  const bool v6 = server_options.address.find(':') != std::string::npos;
  const std::string site = fmt::format(fmt::runtime(v6 ? "http://[{}]:{}" : "http://{}:{}"),
                                       server_options.address, server->port());
  fmt::print("{}/#k={}\n", site, server_options.tokens.control);
  if (options.print_view_url) fmt::print("{}/#k={}\n", site, server_options.tokens.view);
  std::fflush(stdout);
  fmt::print(stderr,
             "Serving {} on {}. The address above holds the key: whoever has it can run "
             "commands here. Ctrl-C ends.\n",
             fs::canonical(options.workspace).string(), site);
  hub.start();
  server->run();
  return 0;
}

}  // namespace fathom::ui
