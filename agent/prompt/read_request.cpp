// Reads the members of a request, keeping the first error.
#include "agent/prompt/read_request.h"

#include <array>
#include <utility>

#include "agent/prompt/json.h"

namespace fathom::agent::prompt {
namespace {

template <typename Value, std::size_t kCount>
using Names = std::array<std::pair<std::string_view, Value>, kCount>;

constexpr Names<Role, 6> kRoles = {{{"system", Role::system},
                                    {"user", Role::user},
                                    {"assistant", Role::assistant},
                                    {"tool", Role::tool},
                                    {"developer", Role::developer},
                                    {"latest_reminder", Role::latest_reminder}}};
constexpr Names<Mode, 2> kModes = {{{"chat", Mode::chat}, {"thinking", Mode::thinking}}};
constexpr Names<Effort, 4> kEfforts = {
    {{"none", Effort::none}, {"low", Effort::low}, {"high", Effort::high}, {"max", Effort::max}}};
constexpr Names<Task, 6> kTasks = {{{"action", Task::action},
                                    {"query", Task::query},
                                    {"authority", Task::authority},
                                    {"domain", Task::domain},
                                    {"title", Task::title},
                                    {"read_url", Task::read_url}}};
constexpr Names<engine::Family, 2> kFamilies = {
    {{"preview", engine::Family::preview}, {"0731", engine::Family::v0731}}};
constexpr Names<Profile, 2> kProfiles = {
    {{"reference", Profile::reference}, {"trajectory", Profile::trajectory}}};

// Reads members of objects. The first error is kept; after it the result does not matter.
class RequestReader {
 public:
  Request read(const Json& json) {
    Request request;
    if (json.kind != Json::Kind::object) fail(RenderError::invalid_request);
    read_name(json, "thinking_mode", kModes, RenderError::invalid_thinking_mode, request.mode);
    read_name(json, "reasoning_effort", kEfforts, RenderError::invalid_reasoning_effort,
              request.effort);
    read_name(json, "checkpoint", kFamilies, RenderError::invalid_request, request.family);
    read_name(json, "profile", kProfiles, RenderError::invalid_request, request.profile);
    request.messages = messages(json, "messages");
    request.context = messages(json, "context");
    request.tools = tools(json);
    request.response_format = response_format(json);
    request.drop_thinking = boolean(json, "drop_thinking", true);
    request.add_bos = boolean(json, "add_bos", true);
    return request;
  }

  const std::optional<RenderError>& error() const { return error_; }

 private:
  void fail(RenderError error) {
    if (!error_) error_ = error;
  }

  // The member, unless it is missing or null.
  const Json* find(const Json& json, std::string_view name) {
    const Json* value = json.find(name);
    return value == nullptr || value->kind == Json::Kind::null ? nullptr : value;
  }

  const Json* find(const Json& json, std::string_view name, Json::Kind kind) {
    const Json* value = find(json, name);
    if (value == nullptr || value->kind == kind) return value;
    fail(RenderError::invalid_request);
    return nullptr;
  }

  template <typename Value, std::size_t kCount>
  void read_name(const Json& json, std::string_view name, const Names<Value, kCount>& names,
                 RenderError unknown, Value& out) {
    const Json* value = find(json, name);
    if (value == nullptr) return;
    for (const auto& [spelling, meaning] : names) {
      if (value->kind == Json::Kind::string && value->text == spelling) {
        out = meaning;
        return;
      }
    }
    fail(unknown);
  }

  bool boolean(const Json& json, std::string_view name, bool otherwise) {
    const Json* value = find(json, name, Json::Kind::boolean);
    return value == nullptr ? otherwise : value->boolean;
  }

  std::string text(const Json& json, std::string_view name) {
    const Json* value = find(json, name, Json::Kind::string);
    return value == nullptr ? std::string() : value->text;
  }

  std::string content(const Json& json) {
    const Json* value = find(json, "content");
    if (value == nullptr) return {};
    if (value->kind == Json::Kind::string) return value->text;
    if (value->kind != Json::Kind::array) fail(RenderError::invalid_request);
    std::vector<Part> parts;
    for (const Json& part : value->items) parts.push_back({text(part, "type"), text(part, "text")});
    return join_parts(parts);
  }

  std::vector<std::string> tools(const Json& json) {
    std::vector<std::string> schemas;
    const Json* value = find(json, "tools", Json::Kind::array);
    if (value == nullptr) return schemas;
    for (const Json& tool : value->items) {
      const Json* function = find(tool, "function", Json::Kind::object);
      schemas.push_back(python_spelling(function == nullptr ? tool : *function));
    }
    return schemas;
  }

  std::optional<std::string> response_format(const Json& json) {
    const Json* value = find(json, "response_format");
    return value == nullptr ? std::nullopt : std::optional(python_spelling(*value));
  }

  std::vector<PastCall> calls(const Json& json) {
    std::vector<PastCall> calls;
    const Json* value = find(json, "tool_calls", Json::Kind::array);
    if (value == nullptr) return calls;
    for (const Json& call : value->items) {
      const Json* function = find(call, "function", Json::Kind::object);
      if (function == nullptr) {
        fail(RenderError::invalid_request);
        continue;
      }
      // Arguments are JSON text; an object that was parsed already is accepted as well.
      const Json* given = find(*function, "arguments");
      std::string arguments;
      if (given != nullptr) {
        arguments = given->kind == Json::Kind::string ? given->text : python_spelling(*given);
      }
      calls.push_back({text(call, "id"), text(*function, "name"), std::move(arguments)});
    }
    return calls;
  }

  Message message(const Json& json) {
    Message message;
    if (find(json, "role") == nullptr) fail(RenderError::unknown_role);
    read_name(json, "role", kRoles, RenderError::unknown_role, message.role);
    read_name(json, "task", kTasks, RenderError::unknown_task, message.task);
    if (find(json, "turn_mode") != nullptr) {
      read_name(json, "turn_mode", kModes, RenderError::invalid_thinking_mode,
                message.turn_mode.emplace());
    }
    message.content = content(json);
    message.reasoning_content = text(json, "reasoning_content");
    message.tool_calls = calls(json);
    message.tool_call_id = text(json, "tool_call_id");
    message.without_eos = boolean(json, "wo_eos", false);
    if (message.role == Role::system || message.role == Role::developer) {
      message.tools = tools(json);
      message.response_format = response_format(json);
    }
    return message;
  }

  std::vector<Message> messages(const Json& json, std::string_view name) {
    std::vector<Message> messages;
    const Json* value = find(json, name, Json::Kind::array);
    if (value == nullptr) return messages;
    for (const Json& item : value->items) messages.push_back(message(item));
    return messages;
  }

  std::optional<RenderError> error_;
};

}  // namespace

tl::expected<Request, RenderError> read_request(std::string_view json) {
  const auto value = read_json(json);
  if (!value) return tl::unexpected(RenderError::invalid_json);
  RequestReader reader;
  Request request = reader.read(*value);
  if (reader.error()) return tl::unexpected(*reader.error());
  return request;
}

}  // namespace fathom::agent::prompt
