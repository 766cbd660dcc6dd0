// Plays turns.
#include "scripted_turn.h"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace fathom::ui {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPatch =
    "--- a/src/add.py\n+++ b/src/add.py\n@@ -1,2 +1,2 @@\n def add(a, b):\n-    return a - b\n"
    "+    return a + b\n";

class Player {
 public:
  Player(const Script& script, std::int64_t n, int turn, agent::EventSink& sink,
         const std::stop_token& stop)
      : script_(script), n_(n), turn_(turn), sink_(sink), stop_(stop) {}

  void play(const TurnRequest& request) {
    if (n_ == 0) write("start", {{"conversation", request.conversation}, {"mode", "auto"}});
    write("turn", {{"turn", turn_}, {"text", request.text}, {"cause", request.cause}});
    for (int step = 1; step <= script_.steps && !stop_.stop_requested(); ++step) {
      play_step(step, step == script_.steps);
    }
    const bool cancelled = stop_.stop_requested();
    write("result", {{"turn", turn_},
                     {"status", cancelled ? "cancelled" : "answered"},
                     {"text", cancelled ? "" : script_.answer},
                     {"steps", script_.steps},
                     {"seconds", 1.5},
                     {"patch", kPatch}});
  }

 private:
  void play_step(int step, bool last) {
    live("prefill", step);
    write("prefill",
          at(step, {{"reused", 100}, {"total", 142}, {"done", 42}, {"tokens_per_s", 90}}));
    live("thinking", step);
    grow("thinking", fmt::format("t{}.s{}.think", turn_, step), step, 0, script_.thinking);
    if (stop_.stop_requested()) return;
    if (last) {
      live("writing", step);
      grow("text", fmt::format("t{}.s{}.text", turn_, step), step, 0, script_.answer);
    }
    write("thinking",
          at(step,
             {{"text", script_.thinking}, {"tokens", 12}, {"seconds", 0.4}, {"ended", "model"}}));
    if (last) {
      write("text", at(step, {{"text", script_.answer}, {"tokens", 11}}));
    } else {
      call(step);
    }
    write("step", at(step, {{"mode_used", "think"},
                            {"prefilled", 42},
                            {"reused", 100},
                            {"sampled", 23},
                            {"thinking", 12},
                            {"context_used", 165},
                            {"seconds", {{"prefill", 0.4}, {"decode", 0.9}, {"tools", 0.1}}}}));
  }

  void call(int step) {
    const bool edit = step % 2 == 0;
    write("call", at(step, {{"call", 1},
                            {"tool", edit ? "edit_file" : "run_command"},
                            {"arguments", edit ? Json{{"path", "src/add.py"}, {"new", "+"}}
                                               : Json{{"command", "python3 test_add.py"}}}}));
    live("running", step);
    grow("output", fmt::format("t{}.s{}.k1.out", turn_, step), step, 1,
         "AssertionError: add(2, 2)\nis 0 , not 4\n");
    Json outcome = {{"call", 1}, {"status", edit ? "ok" : "failed"}, {"seconds", 0.1}};
    if (edit) {
      outcome["text"] = "edit_file src/add.py 2-2 → 2-2\n2     return a + b";
      outcome["files"] = {{{"path", "src/add.py"}, {"change", "modified"}, {"diff", kPatch}}};
    } else {
      outcome["exit"] = 1;
      outcome["text"] =
          "exit 1 · 0.1 s · run_command python3 test_add.py\n"
          "AssertionError: add(2, 2)\nis 0 , not 4";
    }
    write("outcome", at(step, std::move(outcome)));
  }

  Json at(int step, const Json& fields) const {
    Json all = {{"turn", turn_}, {"step", step}};
    all.update(fields);
    return all;
  }

  void write(const char* type, Json fields) {
    sink_.event({.n = n_, .t = n_ * 10, .type = type, .fields = std::move(fields)});
    ++n_;
  }

  void live(const char* phase, int step) {
    sink_.live({.phase = phase,
                .turn = turn_,
                .step = step,
                .decode_tokens_per_s = 25.0,
                .context_used = 165,
                .context_limit = 4096,
                .mode_used = "think"});
  }

  void grow(const char* kind, const std::string& item, int step, int call,
            const std::string& text) {
    std::int64_t sent = 0;
    while (sent < std::ssize(text) && !stop_.stop_requested()) {
      const auto space = text.find(' ', static_cast<std::size_t>(sent));
      const auto end = space == std::string::npos ? text.size() : space + 1;
      const auto begin = static_cast<std::size_t>(sent);
      sink_.delta({.item = item,
                   .kind = kind,
                   .turn = turn_,
                   .step = step,
                   .call = call,
                   .at = sent,
                   .text = text.substr(begin, end - begin)});
      sent = static_cast<std::int64_t>(end);
      pause();
    }
  }

  void pause() {
    if (script_.per_word.count() == 0) return;
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop_, script_.per_word, [] { return false; });
  }

  const Script& script_;
  std::int64_t n_;
  const int turn_;
  agent::EventSink& sink_;
  const std::stop_token& stop_;
};

// Passes on, and keeps the lines as a store would.
class KeepingSink final : public agent::EventSink {
 public:
  KeepingSink(agent::EventSink& sink, std::function<void(std::string)> keep)
      : sink_(sink), keep_(std::move(keep)) {}
  void event(const agent::Event& event) override {
    keep_(event.json().dump());
    sink_.event(event);
  }
  void delta(const agent::Delta& delta) override { sink_.delta(delta); }
  void live(const agent::Live& live) override { sink_.live(live); }

 private:
  agent::EventSink& sink_;
  std::function<void(std::string)> keep_;
};

struct Kept {
  std::mutex mutex;
  std::map<std::string, std::vector<std::string>> lines;
  std::map<std::string, int> turns;
  std::map<std::string, std::string> made_by;
};

}  // namespace

void play(const Script& script, const TurnRequest& request, std::int64_t n, int turn,
          agent::EventSink& sink, const std::stop_token& stop) {
  Player(script, n, turn, sink, stop).play(request);
}

AgentSource scripted_source(const Script& script) {
  auto kept = std::make_shared<Kept>();
  AgentSource source;
  source.load = [](const auto& progress) {
    EngineState state;
    state.model = "scripted";
    state.context = 4096;
    state.total = state.bytes = 100;
    progress(state);
    return state;
  };
  source.list = [] { return std::vector<ConversationRow>(); };
  source.events = [kept](const std::string& id) {
    const std::lock_guard lock(kept->mutex);
    return kept->lines[id];
  };
  source.create = [kept](const std::string& cause) {
    const std::lock_guard lock(kept->mutex);
    const std::string id = fmt::format("01C{}", kept->lines.size());
    kept->lines[id] = {};
    kept->made_by[cause] = id;
    return id;
  };
  source.made_by = [kept](const std::string& cause) -> std::optional<std::string> {
    const std::lock_guard lock(kept->mutex);
    const auto made = kept->made_by.find(cause);
    return made == kept->made_by.end() ? std::nullopt : std::optional(made->second);
  };
  source.run_turn = [kept, script](const TurnRequest& request, agent::EventSink& sink,
                                   const std::stop_token& stop) {
    std::int64_t n = 0;
    int turn = 0;
    {
      const std::lock_guard lock(kept->mutex);
      n = std::ssize(kept->lines[request.conversation]);
      turn = ++kept->turns[request.conversation];
    }
    KeepingSink keeping(sink, [&](std::string line) {
      const std::lock_guard lock(kept->mutex);
      kept->lines[request.conversation].push_back(std::move(line));
    });
    play(script, request, n, turn, keeping, stop);
  };
  return source;
}

}  // namespace fathom::ui
