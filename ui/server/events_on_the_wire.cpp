// Short forms of stored events, and the state line as JSON.
#include "ui/server/events_on_the_wire.h"

#include <fmt/format.h>

#include "ui/wire.h"

namespace fathom::ui {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kTextBytesMax = 16 << 10;
constexpr std::size_t kHeadBytes = 8 << 10;
constexpr std::size_t kTailBytes = 8 << 10;

// Above this even the short form would burst a frame, and only its place is sent.
constexpr std::size_t kEventBytesMax = 192 << 10;

// Bits of the column `flags`.
constexpr int kFailedCall = 1;
constexpr int kDenied = 2;
constexpr int kEdit = 8;
constexpr int kError = 256;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void shorten(Json& value, const std::string& name, Json& cut) {
  if (!value.is_string()) return;
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() <= kTextBytesMax) return;
  const std::size_t head = character_border(text, kHeadBytes);
  const std::size_t tail = character_border(text, text.size() - kTailBytes);
  cut[name] = {{"head", head}, {"tail", text.size() - tail}, {"bytes", text.size()}};
  value = text.substr(0, head) + text.substr(tail);
}

// A stub in place of an event that is too large for any frame.
Json place_of(const Json& event) {
  Json place;
  for (const char* name : {"v", "n", "t", "type", "turn", "step", "call", "tool", "status"}) {
    if (event.contains(name)) place[name] = event[name];
  }
  place["cut"] = {{"event", {{"bytes", dump(event).size()}}}};
  return place;
}

int integer(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_number() ? found->get<int>() : 0;
}

int milliseconds_of(const Json& step, const char* name) {
  const auto seconds = step.find("seconds");
  if (seconds == step.end() || !seconds->is_object()) return 0;
  return static_cast<int>(seconds->value(name, 0.0) * 1000.0);
}

}  // namespace

WireEvent wire_event(const Json& event) {
  WireEvent wire{.line = dump(event), .shortened = {}};
  if (wire.line.size() <= kTextBytesMax) return wire;

  Json shortened = event;
  Json cut = Json::object();
  for (auto& [name, value] : shortened.items()) shorten(value, name, cut);
  if (shortened.contains("arguments") && shortened["arguments"].is_object()) {
    for (auto& [name, value] : shortened["arguments"].items()) {
      shorten(value, "arguments." + name, cut);
    }
  }
  if (shortened.contains("files") && shortened["files"].is_array()) {
    for (std::size_t i = 0; i < shortened["files"].size(); ++i) {
      Json& file = shortened["files"][i];
      if (file.contains("diff")) shorten(file["diff"], fmt::format("files.{}.diff", i), cut);
    }
  }
  if (!cut.empty()) {
    shortened["cut"] = cut;
    wire.shortened = dump(shortened);
  }
  const std::string& sent = cut.empty() ? wire.line : wire.shortened;
  if (sent.size() > kEventBytesMax) wire.shortened = dump(place_of(event));
  return wire;
}

std::string item_closed_by(const Json& event) {
  const std::string type = event.value("type", "");
  const std::string step = fmt::format("t{}.s{}", integer(event, "turn"), integer(event, "step"));
  if (type == "thinking") return step + ".think";
  if (type == "text") return step + ".text";
  const std::string call = fmt::format("{}.k{}", step, integer(event, "call"));
  if (type == "call") return call;
  if (type == "output" || type == "outcome") return call + ".out";
  return {};
}

std::string text_of_item(const Json& event) {
  if (event.value("type", "") != "call") return event.value("text", "");
  const auto arguments = event.find("arguments");
  return arguments == event.end() ? std::string() : dump(*arguments);
}

std::string live_frame(const std::string& conversation, const agent::Live& live,
                       std::int64_t elapsed_ms) {
  Json frame = {{"f", "live"},
                {"conversation", conversation},
                {"phase", live.phase},
                {"turn", live.turn},
                {"step", live.step},
                {"since_ms", live.since_ms},
                {"elapsed_ms", elapsed_ms},
                {"mode", {{"used", live.mode_used}}},
                {"prefill",
                 {{"done", live.prefill_done},
                  {"reused", live.reused},
                  {"total", live.prefill_total},
                  {"tokens_per_s", live.prefill_tokens_per_s}}},
                {"decode", {{"tokens_per_s", live.decode_tokens_per_s}}},
                {"thinking", {{"tokens", live.thinking_tokens}}},
                {"context", {{"used", live.context_used}, {"limit", live.context_limit}}}};
  if (live.prefill_tokens_per_s > 0) {
    frame["prefill"]["left_s"] =
        (live.prefill_total - live.prefill_done) / live.prefill_tokens_per_s;
  }
  return dump(frame);
}

void StepIndex::add(const Json& event) {
  const std::string type = event.value("type", "");
  if (type == "call") {
    ++calls_;
    if (title_.empty()) {
      title_ = event.value("tool", "");
      for (const char* name : {"command", "path", "pattern", "glob"}) {
        const auto arguments = event.find("arguments");
        if (arguments == event.end() || !arguments->contains(name)) continue;
        if (!(*arguments)[name].is_string()) continue;
        title_ += " " + (*arguments)[name].get<std::string>().substr(0, 80);
        break;
      }
      title_ = valid_utf8(title_);
    }
    if (event.value("tool", "") == "edit_file" || event.value("tool", "") == "write_file") {
      flags_ |= kEdit;
    }
  }
  if (type == "outcome" && event.value("status", "ok") != "ok") flags_ |= kFailedCall;
  if (type == "denied") flags_ |= kDenied;
  if (type == "error") flags_ |= kError;
  if (type != "step") return;

  const auto push = [&](const char* column, Json value) {
    columns_[column].push_back(std::move(value));
  };
  push("turn", integer(event, "turn"));
  push("used", event.value("mode_used", ""));
  push("started_ms", integer(event, "t"));
  push("prefill_ms", milliseconds_of(event, "prefill"));
  push("decode_ms", milliseconds_of(event, "decode"));
  push("tools_ms", milliseconds_of(event, "tools"));
  for (const char* column : {"prefilled", "reused", "thinking", "sampled", "context_used"}) {
    push(column, integer(event, column));
  }
  push("calls", calls_);
  push("flags", flags_);
  push("title", title_);
  calls_ = 0;
  flags_ = 0;
  title_.clear();
}

std::string StepIndex::json() const {
  return dump(columns_);
}

}  // namespace fathom::ui
