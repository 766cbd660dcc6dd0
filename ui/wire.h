// The frames of the protocol `fathom.v1`: what a client may say, read and checked, and what the
// server answers, written. One frame is one JSON object with "f".
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

namespace fathom::ui {

inline constexpr int kProtocolVersion = 1;

// Limits of the protocol. A prompt is far below a frame, so that its escaping always fits.
inline constexpr std::size_t kClientFrameBytesMax = 1 << 20;
inline constexpr std::size_t kServerFrameBytesMax = 256 << 10;
inline constexpr std::size_t kPromptBytesMax = 512 << 10;
inline constexpr int kDepthMax = 16;
inline constexpr int kSubscriptionsMax = 8;

// Why a connection was closed by the server.
enum class CloseCode : std::uint16_t {
  not_understood = 4400,
  forbidden = 4403,
  silent = 4408,
  no_common_version = 4409,
  too_large = 4413,
  too_many = 4429,
  shutting_down = 4503,
};

// How much of a growing text a client wants: all of it, its last words now and then, or nothing.
enum class Detail { full, tail, none };

struct Want {
  Detail thinking = Detail::full;
  Detail output = Detail::full;
};

// One conversation that a client follows, with what it already holds.
struct Subscription {
  std::string conversation;
  std::int64_t n = -1;                       // last stored event seen, -1: none
  std::map<std::string, std::int64_t> open;  // bytes held of items that were open
  Want want;
  std::optional<int> from_step;  // start here instead of at the last steps
};

struct ClientHello {
  int version = 0;
  std::vector<Subscription> resume;
};

struct Subscribe {
  Subscription subscription;
};

struct Unsubscribe {
  std::string conversation;
};

struct ChangeWant {
  std::string conversation;
  Want want;
};

// Something a person wants done. `id` makes it idempotent: it is carried out once.
struct Command {
  std::string id;
  std::string conversation;  // empty with `turn`: starts a new one
  std::string action;        // turn, stop, end_thinking, …
  std::string text;          // of a turn
  std::string mode;          // auto, fast, think; empty: as the conversation has it
  int think_budget = 0;      // 0: none
  std::optional<std::int64_t> expected_n;
};

// A frame of a kind that this server does not know; answered, never fatal.
struct UnknownFrame {
  std::string f;
};

using ClientFrame =
    std::variant<ClientHello, Subscribe, Unsubscribe, ChangeWant, Command, UnknownFrame>;

// Why a frame was not taken. With `close`, the connection ends.
struct Refusal {
  std::optional<CloseCode> close;
  std::string code;
  std::string message;
  std::string id;         // of the command, where there is one
  std::string hint = {};  // what a person can do about it
};

tl::expected<ClientFrame, Refusal> parse_client_frame(std::string_view text);

// The answer to a command.
struct Ack {
  enum class Status { done, queued, duplicate, refused };

  std::string id;
  Status status = Status::done;
  std::string conversation;       // the one it concerned, also when it was made by the command
  std::optional<std::int64_t> n;  // the event that it caused, once there is one
  std::string code;               // why it was refused
  std::string message;
  std::string hint;
};

std::string ack_frame(const Ack& ack);
std::string error_frame(const Refusal& refusal);

// `text` with everything that is not UTF-8 replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

// The largest cut <= `at` that does not split a character of `text`, which is valid UTF-8.
std::size_t character_border(std::string_view text, std::size_t at) noexcept;

// `text`, which is valid UTF-8, as a JSON string with its quotes.
std::string json_string(std::string_view text);

}  // namespace fathom::ui
