// Reads and writes the frames of `fathom.v1`.
#include "ui/wire.h"

#include <algorithm>
#include <limits>

#include <nlohmann/json.hpp>

namespace fathom::ui {

namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Ids are ULIDs and item names; anything much longer is no id of ours.
constexpr std::size_t kIdBytesMax = 128;

Refusal fatal(CloseCode close, std::string message) {
  return {.close = close, .code = "not_understood", .message = std::move(message), .id = ""};
}

// The parser reports the depth of every value, so a deep frame is refused before it is built.
tl::expected<Json, Refusal> parse_json(std::string_view text) {
  bool too_deep = false;
  const auto limit = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth >= kDepthMax;
    return !too_deep;
  };
  Json json = Json::parse(text, limit, /*allow_exceptions=*/false);
  if (too_deep) {
    return tl::unexpected(fatal(CloseCode::not_understood, "The frame is nested too deeply."));
  }
  if (!json.is_object()) {
    return tl::unexpected(fatal(CloseCode::not_understood, "A frame is one JSON object in UTF-8."));
  }
  return json;
}

std::string text_of(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<std::int64_t> integer_of(const Json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() &&
      found->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    return std::nullopt;
  }
  return found->get<std::int64_t>();
}

int small_integer_of(const Json& json, const char* name) {
  constexpr std::int64_t kMax = std::numeric_limits<int>::max();
  return static_cast<int>(std::clamp<std::int64_t>(integer_of(json, name).value_or(0), 0, kMax));
}

Detail detail_of(const Json& want, const char* name) {
  const std::string text = text_of(want, name);
  if (text == "tail") return Detail::tail;
  if (text == "none") return Detail::none;
  return Detail::full;
}

Want want_of(const Json& json) {
  const auto want = json.find("want");
  if (want == json.end() || !want->is_object()) return {};
  return {.thinking = detail_of(*want, "thinking"), .output = detail_of(*want, "output")};
}

std::optional<Subscription> subscription_of(const Json& json) {
  Subscription subscription{.conversation = text_of(json, "conversation"),
                            .n = std::max<std::int64_t>(-1, integer_of(json, "n").value_or(-1)),
                            .open = {},
                            .want = want_of(json),
                            .from_step = std::nullopt};
  if (subscription.conversation.empty() || subscription.conversation.size() > kIdBytesMax) {
    return std::nullopt;
  }
  if (integer_of(json, "from_step")) subscription.from_step = small_integer_of(json, "from_step");
  const auto open = json.find("open");
  if (open == json.end() || !open->is_object()) return subscription;
  // A turn has a handful of open items; a cursor stays a few KiB whatever a client claims.
  constexpr std::size_t kOpenItemsMax = 64;
  for (const auto& [item, held] : open->items()) {
    if (subscription.open.size() == kOpenItemsMax) break;
    if (item.size() > kIdBytesMax || !held.is_number_unsigned()) continue;
    subscription.open[item] = integer_of(*open, item.c_str()).value_or(0);
  }
  return subscription;
}

tl::expected<ClientFrame, Refusal> hello_of(const Json& json) {
  ClientHello hello{.version = small_integer_of(json, "v"), .resume = {}};
  if (hello.version != kProtocolVersion) {
    return tl::unexpected(
        fatal(CloseCode::no_common_version, "This server speaks version 1. Reload the page."));
  }
  const auto resume = json.find("resume");
  if (resume == json.end() || !resume->is_array()) return hello;
  for (const Json& one : *resume) {
    if (!one.is_object()) continue;
    if (auto subscription = subscription_of(one)) hello.resume.push_back(std::move(*subscription));
  }
  if (hello.resume.size() > kSubscriptionsMax) {
    return tl::unexpected(fatal(CloseCode::too_many, "At most 8 conversations can be followed."));
  }
  return hello;
}

Refusal refused(std::string code, std::string message, std::string id) {
  return {.close = std::nullopt,
          .code = std::move(code),
          .message = std::move(message),
          .id = std::move(id)};
}

tl::expected<ClientFrame, Refusal> command_of(const Json& json) {
  Command command{.id = text_of(json, "id"),
                  .conversation = text_of(json, "conversation"),
                  .action = text_of(json, "do"),
                  .text = text_of(json, "text"),
                  .mode = text_of(json, "mode"),
                  .think_budget = small_integer_of(json, "think_budget"),
                  .expected_n = std::nullopt};
  if (command.id.empty() || command.id.size() > kIdBytesMax) {
    return tl::unexpected(refused("command.id", "A command needs an id of its own.", ""));
  }
  if (command.conversation.size() > kIdBytesMax || command.action.size() > kIdBytesMax) {
    return tl::unexpected(refused("command.unknown", "This is no command.", command.id));
  }
  if (command.text.size() > kPromptBytesMax) {
    return tl::unexpected(refused("turn.too_long", "A message has at most 512 KiB.", command.id));
  }
  const auto expect = json.find("expect");
  if (expect != json.end() && expect->is_object()) command.expected_n = integer_of(*expect, "n");
  return command;
}

const char* name_of(Ack::Status status) {
  switch (status) {
    case Ack::Status::done:
      return "done";
    case Ack::Status::queued:
      return "queued";
    case Ack::Status::duplicate:
      return "duplicate";
    case Ack::Status::refused:
      break;
  }
  return "refused";
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

// Bytes of the well-formed character that begins at `at`, 0: none does (RFC 3629, table 3-7 of
// the Unicode standard).
std::size_t character_bytes(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  unsigned low = 0x80;
  unsigned high = 0xBF;
  std::size_t bytes = 0;
  if (first >= 0xC2 && first <= 0xDF) bytes = 2;
  if (first >= 0xE0 && first <= 0xEF) bytes = 3;
  if (first >= 0xF0 && first <= 0xF4) bytes = 4;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;  // surrogates
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  if (bytes == 0 || byte(at + 1) < low || byte(at + 1) > high) return 0;
  for (std::size_t i = 2; i < bytes; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80U) return 0;
  }
  return bytes;
}

}  // namespace

tl::expected<ClientFrame, Refusal> parse_client_frame(std::string_view text) {
  if (text.size() > kClientFrameBytesMax) {
    return tl::unexpected(fatal(CloseCode::too_large, "A frame has at most 1 MiB."));
  }
  const auto json = parse_json(text);
  if (!json) return tl::unexpected(json.error());

  const std::string f = text_of(*json, "f");
  if (f == "hello") return hello_of(*json);
  if (f == "cmd") return command_of(*json);
  if (f == "unsub") return Unsubscribe{.conversation = text_of(*json, "conversation")};
  if (f == "want") {
    return ChangeWant{.conversation = text_of(*json, "conversation"), .want = want_of(*json)};
  }
  if (f == "sub") {
    auto subscription = subscription_of(*json);
    if (!subscription) {
      return tl::unexpected(refused("sub.conversation", "sub names a conversation.", ""));
    }
    return Subscribe{.subscription = std::move(*subscription)};
  }
  return UnknownFrame{.f = f.substr(0, kIdBytesMax)};
}

std::string ack_frame(const Ack& ack) {
  OrderedJson frame = {{"f", "ack"}, {"id", ack.id}, {"status", name_of(ack.status)}};
  if (!ack.conversation.empty()) frame["conversation"] = ack.conversation;
  frame["n"] = ack.n ? OrderedJson(*ack.n) : OrderedJson(nullptr);
  if (!ack.code.empty()) {
    frame["error"] = {{"code", ack.code}, {"message", ack.message}, {"hint", ack.hint}};
  }
  return dump(frame);
}

std::string error_frame(const Refusal& refusal) {
  OrderedJson frame = {
      {"f", "error"}, {"code", refusal.code}, {"message", refusal.message}, {"hint", refusal.hint}};
  if (!refusal.id.empty()) frame["id"] = refusal.id;
  return dump(frame);
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = character_bytes(text, at);
    if (bytes == 0) {
      valid += "\xEF\xBF\xBD";
      ++at;
    } else {
      valid += text.substr(at, bytes);
      at += bytes;
    }
  }
  return valid;
}

std::size_t character_border(std::string_view text, std::size_t at) noexcept {
  if (at >= text.size()) return text.size();
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) --at;
  return at;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  out.reserve(text.size() + text.size() / 8 + 2);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20) {
      constexpr const char* kHex = "0123456789abcdef";
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
  return out += '"';
}

}  // namespace fathom::ui
