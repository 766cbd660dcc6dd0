// `fathom conversation`: lists, shows, exports and branches what the store keeps.
#include "ui/commands/conversation.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "agent/events.h"
#include "memory/store.h"
#include "ui/commands/branches.h"
#include "ui/json_lines.h"
#include "ui/plain_text.h"
#include "ui/terminal.h"

namespace fathom::ui {
namespace {

using Json = nlohmann::ordered_json;

std::filesystem::path file_of(const ConversationOptions& options) {
  return options.store.empty() ? memory::Store::default_path() : options.store;
}

Json json_of(const memory::ConversationRecord& record) {
  return {{"id", record.id},
          {"title", record.title},
          {"workspace", record.workspace},
          {"model", record.model},
          {"status", record.status},
          {"created_ms", record.created_ms},
          {"updated_ms", record.updated_ms},
          {"events", record.events},
          {"turns", record.turns},
          {"steps", record.steps}};
}

std::string time_of(std::int64_t unix_ms) {
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(static_cast<std::time_t>(unix_ms / 1000)));
}

// None where there is no store yet: to look makes none.
std::vector<memory::ConversationRecord> records(const ConversationOptions& options) {
  const std::filesystem::path file = file_of(options);
  std::error_code failed;
  const bool missing = !std::filesystem::exists(file, failed) && !failed;
  if (missing) return {};
  return memory::Store::reader(file).list(options.limit);
}

int list(const ConversationOptions& options) {
  std::string out;
  for (const memory::ConversationRecord& record : records(options)) {
    if (options.json) {
      out += json_of(record).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    } else {
      out += fmt::format("{}  {}  {:<12} {:>3} steps  {}\n", record.id, time_of(record.updated_ms),
                         record.status.empty() ? "unfinished" : record.status, record.steps,
                         visible(record.title));
    }
  }
  if (out.empty() && !options.json) out = "No conversations yet.\n";
  write_all(STDOUT_FILENO, out);
  return 0;
}

// The stored events as the view for people shows a live run.
int show(const ConversationOptions& options) {
  const memory::Store store = memory::Store::reader(file_of(options));
  const std::string id = store.find(options.id);
  if (options.json) {
    Json shown = json_of(*store.conversation(id));
    Json events = Json::array();
    for (const memory::EventRecord& event : store.events(id)) {
      events.push_back(Json::parse(event.json));
    }
    shown["list"] = std::move(events);
    write_all(STDOUT_FILENO, shown.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    return 0;
  }
  Terminal terminal(terminal_options(STDOUT_FILENO, /*color=*/true, /*plain=*/true));
  for (const memory::EventRecord& record : store.events(id)) {
    terminal.event(
        {.n = record.n, .t = record.t, .type = record.type, .fields = Json::parse(record.json)});
  }
  terminal.finish();
  return 0;
}

// The event stream, byte for byte as it was written.
int export_events(const ConversationOptions& options) {
  const memory::Store store = memory::Store::reader(file_of(options));
  for (const memory::EventRecord& event : store.events(store.find(options.id))) {
    if (!write_all(STDOUT_FILENO, event.json + "\n")) break;
  }
  return 0;
}

// Prints the id to go on with; for a rewind also where the rest is.
int branch(const ConversationOptions& options) {
  memory::Store store(file_of(options));
  const std::string id = store.find(options.id);
  const bool fork = options.action == "fork";
  const std::string made = fork ? fork_conversation(store, options.store, id, options.at)
                                : rewind_conversation(store, options.store, id, options.at);
  if (options.json) {
    const Json line = fork ? Json{{"id", made}, {"from", id}} : Json{{"id", id}, {"branch", made}};
    write_all(STDOUT_FILENO, line.dump() + "\n");
  } else if (fork) {
    write_all(STDOUT_FILENO, made + "\n");
  } else {
    write_all(STDOUT_FILENO, fmt::format("{} is back; what followed is kept as {}\n", id, made));
  }
  return 0;
}

}  // namespace

int conversation(const ConversationOptions& options) {
  if (options.action == "show") return show(options);
  if (options.action == "export") return export_events(options);
  if (options.action == "fork" || options.action == "rewind") return branch(options);
  if (options.action == "replay") return replay_conversation(options);
  return list(options);
}

}  // namespace fathom::ui
