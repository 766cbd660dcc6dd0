// `fathom run`: one turn, shown as asked, its end as the exit code.
#include "ui/commands/run.h"

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agent/agent.h"
#include "engine/error.h"
#include "sandbox/error.h"
#include "ui/commands/assembly.h"
#include "ui/commands/branches.h"
#include "ui/commands/interrupt.h"
#include "ui/commands/prompt_input.h"
#include "ui/commands/quiet_input.h"
#include "ui/commands/usage_error.h"
#include "ui/json_lines.h"
#include "ui/plain_text.h"
#include "ui/terminal.h"

namespace fathom::ui {
namespace {

constexpr int kExitUsage = 2;

// Hands everything on to several sinks, in order.
class Fanout final : public agent::EventSink {
 public:
  void add(std::unique_ptr<agent::EventSink> sink) { sinks_.push_back(std::move(sink)); }

  void event(const agent::Event& event) override {
    for (const auto& sink : sinks_) sink->event(event);
  }
  void delta(const agent::Delta& delta) override {
    for (const auto& sink : sinks_) sink->delta(delta);
  }
  void live(const agent::Live& live) override {
    for (const auto& sink : sinks_) sink->live(live);
  }

 private:
  std::vector<std::unique_ptr<agent::EventSink>> sinks_;
};

// A terminal view that redraws its clock while it lives.
class TickingTerminal final : public agent::EventSink {
 public:
  explicit TickingTerminal(TerminalOptions options)
      : quiet_(/*wanted=*/options.screen.live),
        terminal_(std::move(options)),
        clock_([this](const std::stop_token& stop) { tick(stop); }) {}
  ~TickingTerminal() override {
    clock_.request_stop();
    clock_.join();
    terminal_.finish();
  }

  void event(const agent::Event& event) override {
    terminal_.event(event);
    // Not only at the end: after a second Ctrl-C the process ends here.
    if (event.type == "result") quiet_.restore();
  }
  void delta(const agent::Delta& delta) override { terminal_.delta(delta); }
  void live(const agent::Live& live) override { terminal_.live(live); }

 private:
  void tick(const std::stop_token& stop) {
    constexpr auto kEvery = std::chrono::milliseconds(200);
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (!never.wait_for(lock, stop, kEvery, [&stop] { return stop.stop_requested(); })) {
      terminal_.tick();
    }
  }

  QuietInput quiet_;
  Terminal terminal_;
  std::jthread clock_;
};

// Says on standard error what every prefill reused, and why not more.
class CacheWords final : public agent::EventSink {
 public:
  void event(const agent::Event& event) override {
    const auto number = [&event](const char* key) { return event.fields.value(key, 0); };
    if (event.type == "cache" && event.fields.value("kind", "") != "restored") {
      fmt::print(stderr, "cache: {}\n", event.fields.value("text", ""));
    }
    if (event.type != "prefill") return;
    fmt::print(stderr, "prefill: {} of {} tokens computed, {} reused", number("done"),
               number("total"), number("reused"));
    if (number("reused_disk") > 0) fmt::print(stderr, ", {} from disk", number("reused_disk"));
    const auto differs = event.fields.find("differs");
    if (differs == event.fields.end()) {
      fmt::print(stderr, "\n");
      return;
    }
    fmt::print(stderr, "; differs at token {}, in {}: here {}, before {}\n",
               differs->value("at", 0), differs->value("part", ""), quoted((*differs)["here"]),
               quoted((*differs)["before"]));
  }

 private:
  static std::string quoted(const nlohmann::ordered_json& text) {
    return text.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
};

// A file that closes itself.
class OutputFile final : public agent::EventSink {
 public:
  explicit OutputFile(const std::filesystem::path& path)
      : descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)),
        lines_(descriptor_, JsonLinesKind::all, /*deltas=*/false) {
    if (descriptor_ < 0) {
      throw std::system_error(errno, std::generic_category(),
                              fmt::format("cannot write {}", path.string()));
    }
  }
  ~OutputFile() override { ::close(descriptor_); }

  void event(const agent::Event& event) override { lines_.event(event); }

 private:
  const int descriptor_;
  JsonLines lines_;
};

bool is_json(const RunOptions& options) {
  return options.output_format != "text";
}

// Whether standard output shows the whole turn, the answer included, and not the answer alone.
bool shows_turn(const RunOptions& options) {
  return !is_json(options) && !options.quiet && (options.plain || ::isatty(STDOUT_FILENO) == 1);
}

// Where the turn is shown. Standard output carries JSON and nothing else, or the answer; the view
// for people is on whichever of the two streams is a terminal.
void add_sinks(Fanout& sinks, const RunOptions& options, Interrupt& interrupt) {
  if (!options.trajectory.empty()) sinks.add(std::make_unique<OutputFile>(options.trajectory));
  if (options.explain_cache) sinks.add(std::make_unique<CacheWords>());
  if (is_json(options)) {
    const JsonLinesKind kind =
        options.output_format == "json" ? JsonLinesKind::result : JsonLinesKind::all;
    sinks.add(std::make_unique<JsonLines>(STDOUT_FILENO, kind, options.include_deltas,
                                          [&interrupt] { interrupt.request_stop(); }));
    return;
  }
  if (options.quiet) return;
  const bool output = shows_turn(options);
  if (!output && ::isatty(STDERR_FILENO) != 1) return;
  TerminalOptions view = terminal_options(output ? STDOUT_FILENO : STDERR_FILENO,
                                          /*color=*/!options.no_color, options.plain);
  view.verbose = options.verbose;
  view.answer = output;
  sinks.add(std::make_unique<TickingTerminal>(std::move(view)));
}

// Asked to stop before a turn could begin.
struct Stopped {};

void send_result(agent::EventSink& sink, agent::TurnEnd end, int exit, std::string_view code,
                 std::string_view message) {
  sink.event(
      {.n = 0,
       .t = 0,
       .type = "result",
       .fields = {{"status", agent::name(end)},
                  {"exit", exit},
                  {"text", ""},
                  {"structured", nullptr},
                  {"turns", 0},
                  {"steps", 0},
                  {"usage", {{"prefilled", 0}, {"reused", 0}, {"sampled", 0}, {"thinking", 0}}},
                  {"seconds", 0.0},
                  {"patch", ""},
                  {"files", nlohmann::ordered_json::array()},
                  {"conversation", nullptr},
                  {"error", {{"code", code}, {"message", message}, {"hint", ""}}}}});
}

// Programs that read JSON get their one result also when no turn could begin; people read why on
// standard error.
void result_without_turn(const RunOptions& options, agent::EventSink& sink, agent::TurnEnd end,
                         std::string_view code, std::string_view message) {
  if (is_json(options)) send_result(sink, end, agent::exit_code(end), code, message);
}

int result_of_stop(agent::EventSink& sink, int signal) {
  const int exit = 128 + signal;
  send_result(sink, agent::TurnEnd::cancelled, exit, "cancelled", "stopped before the turn began");
  return exit;
}

AssemblyOptions assembly_options(const RunOptions& options, const Interrupt& interrupt) {
  return {.model = options.model,
          .cache = options.cache,
          .workspace = options.workspace,
          .writable_folders = options.writable_folders,
          .sandbox = options.sandbox,
          .tools = options.tools,
          .no_tools = options.no_tools,
          .system = options.system,
          .append_system = options.append_system,
          .bare = options.bare,
          .budget = {.think_tokens = options.think_budget,
                     .steps = options.steps_max,
                     .tokens = options.tokens_max,
                     .seconds = options.seconds_max},
          .temperature = options.temperature,
          .seed = options.seed,
          .verify = options.verify,
          .stop_signal = [&interrupt] { return interrupt.signal(); },
          .store = options.store,
          .ephemeral = options.ephemeral,
          .on_progress =
              [&interrupt](std::int64_t, std::int64_t) {
                if (interrupt.token().stop_requested()) throw Stopped();
              }};
}

// The conversation that -c or -r names; empty: a new one. Throws memory::Error if there is none.
std::string named_conversation(const RunOptions& options, Assembly& assembly) {
  if (!options.resume.empty()) {
    return assembly.store().find_or_search(options.resume, assembly.workspace().string());
  }
  if (!options.continue_latest) return {};
  const auto latest = assembly.store().list(1, assembly.workspace().string());
  if (latest.empty()) {
    throw std::runtime_error(
        fmt::format("there is no conversation in {} to go on with: run "
                    "without -c",
                    assembly.workspace().string()));
  }
  return latest.front().id;
}

// The conversation to go on with: the named one, a copy of it, or what it was after a step.
std::string conversation_to_resume(const RunOptions& options, Assembly& assembly) {
  const std::string named = named_conversation(options, assembly);
  if (named.empty()) return {};
  if (options.fork) return fork_conversation(assembly.store(), options.store, named, options.at);
  if (!options.at.empty()) {
    rewind_conversation(assembly.store(), options.store, named, options.at);
  }
  return named;
}

// Says in the text format what the answer alone does not: why there is none.
class Reason final : public agent::EventSink {
 public:
  void event(const agent::Event& event) override {
    if (event.type == "error") message_ = event.fields.value("message", "");
    if (event.type != "result") return;
    const std::string status = event.fields.value("status", "");
    if (status == "answered") return;
    if (status == "unverified") message_ = "the command given with --verify failed";
    fmt::print(stderr, "fathom: {}{}{}\n", status, message_.empty() ? "" : ": ", message_);
  }

 private:
  std::string message_;
};

int run_turn(const RunOptions& options, const std::string& prompt, Fanout& sinks,
             Interrupt& interrupt) {
  Assembly assembly(assembly_options(options, interrupt));
  assembly.require_sandbox();
  const std::string earlier = conversation_to_resume(options, assembly);
  const auto agent = earlier.empty() ? assembly.start(sinks) : assembly.resume(earlier, sinks);
  interrupt.last_words([&agent] { agent->abandon(); });
  const auto mode = agent::mode_by_name(options.mode).value_or(agent::Mode::automatic);
  const agent::TurnResult result =
      agent->run_turn({.text = prompt, .mode = mode}, interrupt.token());
  interrupt.last_words({});
  if (!is_json(options) && !shows_turn(options) && !result.text.empty()) {
    // A terminal obeys what programs only read.
    const bool to_person = ::isatty(STDOUT_FILENO) == 1;
    write_all(STDOUT_FILENO, (to_person ? visible(result.text) : result.text) + "\n");
  }
  return result.exit;
}

}  // namespace

int run(const RunOptions& options) {
  Interrupt interrupt;
  const auto prompt = read_prompt(options.prompt, interrupt.token());
  if (interrupt.token().stop_requested()) {
    Fanout sinks;
    add_sinks(sinks, options, interrupt);
    return result_of_stop(sinks, interrupt.signal());
  }
  if (!prompt) {
    fmt::print(stderr, "fathom: {}\n", prompt.error());
    return kExitUsage;
  }
  const bool goes_on = options.continue_latest || !options.resume.empty();
  if (!goes_on && (options.fork || !options.at.empty())) {
    fmt::print(stderr, "fathom: --fork and --at need a conversation: name it with -c or -r\n");
    return kExitUsage;
  }
  Fanout sinks;
  add_sinks(sinks, options, interrupt);
  const bool shown = shows_turn(options) || ::isatty(STDERR_FILENO) == 1;
  if (!is_json(options) && (options.quiet || !shown)) sinks.add(std::make_unique<Reason>());
  interrupt.last_words([&] { result_of_stop(sinks, interrupt.signal()); });
  try {
    return run_turn(options, *prompt, sinks, interrupt);
  } catch (const Stopped&) {
    interrupt.last_words({});
    return result_of_stop(sinks, interrupt.signal());
  } catch (const UsageError&) {
    interrupt.last_words({});
    throw;
  } catch (const engine::Error& failed) {
    interrupt.last_words({});
    result_without_turn(options, sinks, agent::TurnEnd::no_engine, "engine", failed.what());
    throw;
  } catch (const sandbox::Error& failed) {
    interrupt.last_words({});
    result_without_turn(options, sinks, agent::TurnEnd::no_sandbox, "sandbox.setup", failed.what());
    throw;
  } catch (const std::exception& failed) {
    interrupt.last_words({});
    result_without_turn(options, sinks, agent::TurnEnd::failure, "failure", failed.what());
    throw;
  }
}

}  // namespace fathom::ui
