// A conversation as the chat encoding sees it: what is rendered, before it becomes tokens.
//
// Whatever is JSON (schemas, arguments, response formats) is kept as JSON text, exactly as it came:
// its member order and its numbers reach the prompt, and only render() reads it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"

namespace fathom::agent::prompt {

enum class Role { system, user, assistant, tool, developer, latest_reminder };

// Whether a turn reasons before it answers.
enum class Mode { chat, thinking };

enum class Effort { none, low, high, max };

// Short classifications that reuse the prefix of the main request.
enum class Task { none, action, query, authority, domain, title, read_url };

// reference: one mode for the whole prompt. trajectory: each finished assistant turn keeps the
// opener it was generated with (Message::turn_mode), so that a cached prefix stays valid.
enum class Profile { reference, trajectory };

// A call that an assistant turn made.
struct PastCall {
  std::string id = {};  // empty: none
  std::string name = {};
  std::string arguments = {};  // JSON text of an object; empty: no arguments
};

// Several text parts of one message are joined by join_parts() into `content`.
struct Message {
  Role role = Role::user;
  std::string content = {};

  // assistant
  std::string reasoning_content = {};
  std::vector<PastCall> tool_calls = {};
  bool without_eos = false;            // a prefilled turn, to be continued (wo_eos)
  std::optional<Mode> turn_mode = {};  // as generated; only the trajectory profile reads it

  std::string tool_call_id = {};  // tool; empty: none
  Task task = Task::none;         // user, assistant

  // system, developer
  std::vector<std::string> tools = {};              // JSON text of each `function` object
  std::optional<std::string> response_format = {};  // JSON text
};

struct Request {
  std::vector<Message> messages = {};
  std::vector<Message> context = {};  // already in the cache: not rendered, but decides the rest
  Mode mode = Mode::chat;
  Effort effort = Effort::none;
  engine::Family family = engine::Family::preview;
  std::vector<std::string> tools = {};              // as Message::tools, for the first message
  std::optional<std::string> response_format = {};  // as Message::response_format
  bool drop_thinking = true;
  bool add_bos = true;
  Profile profile = Profile::reference;
};

// Why a request is rejected.
enum class RenderError {
  developer_content_required,
  unknown_role,
  unknown_task,
  invalid_reasoning_effort,
  invalid_thinking_mode,
  invalid_json,     // a schema or response format is not JSON
  invalid_request,  // a member of the request has the wrong type
};

// The code as debugging output and tests spell it, e.g. "unknown_role".
std::string_view code(RenderError error) noexcept;

// One part of a message's content; type "text" carries text, other types are named in its place.
struct Part {
  std::string type = "text";
  std::string text = {};
};
std::string join_parts(const std::vector<Part>& parts);

}  // namespace fathom::agent::prompt
