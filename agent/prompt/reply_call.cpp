// Puts a call together from its parameters.
#include "agent/prompt/reply_call.h"

#include <algorithm>
#include <set>

#include "agent/prompt/json.h"
#include "agent/prompt/reply_text.h"

namespace fathom::agent::prompt {
namespace {

bool is_object(std::string_view text) {
  const auto value = read_json(text);
  return value && value->kind == Json::Kind::object;
}

std::string_view json_of_python_literal(std::string_view text) {
  if (text == "True") return "true";
  if (text == "False") return "false";
  return text == "None" ? "null" : "";
}

}  // namespace

const DeclaredTool* CallBuilder::declaration() const noexcept {
  const auto found = std::ranges::find(declared_, tool_, &DeclaredTool::name);
  return found == declared_.end() ? nullptr : &*found;
}

void CallBuilder::add_text(std::string name, std::string text) {
  parameters_.push_back({std::move(name), json_string(text), std::move(text)});
}

void CallBuilder::add_json(std::string name, const std::string& text,
                           std::vector<Diagnostic>& diagnostics) {
  const std::string json(trimmed(text));
  if (read_json(json)) {
    parameters_.push_back({std::move(name), json, json});
    return;
  }
  const std::string_view literal = json_of_python_literal(json);
  diagnostics.push_back({.code = literal.empty() ? "invalid_json_value" : "python_literal",
                         .tool = tool_,
                         .parameter = name,
                         .has_parameter = true});
  if (literal.empty()) return add_text(std::move(name), text);
  parameters_.push_back({std::move(name), std::string(literal), {}});
}

void CallBuilder::add_body(std::string_view text, std::vector<Diagnostic>& diagnostics) {
  const bool only = parameters_.empty() && body_.empty() && !malformed_;
  if (only && is_object(text)) {
    diagnostics.push_back({.code = "json_body", .tool = tool_});
    body_ = trimmed(text);
    return;
  }
  diagnostics.push_back({.code = "junk_in_invoke", .tool = tool_});
  malformed_ = true;
}

bool CallBuilder::has_duplicates(std::vector<Diagnostic>& diagnostics) const {
  bool found = false;
  std::set<std::string_view> names;
  for (const Parameter& parameter : parameters_) {
    if (names.insert(parameter.name).second) continue;
    found = true;
    diagnostics.push_back({.code = "duplicate_parameter",
                           .tool = tool_,
                           .parameter = parameter.name,
                           .has_parameter = true});
  }
  return found;
}

// Models that saw arguments wrapped in one parameter by mistake imitate the wrapper.
bool CallBuilder::wraps_all_arguments(const DeclaredTool& tool) const {
  if (parameters_.size() != 1 || !body_.empty()) return false;
  const auto declares = [&](const std::string& name) {
    return std::ranges::find(tool.parameters, name) != tool.parameters.end();
  };
  const Parameter& only = parameters_.front();
  if ((only.name != "arguments" && only.name != "input") || declares(only.name)) return false;
  const auto value = read_json(only.object);
  return value && value->kind == Json::Kind::object &&
         std::ranges::all_of(value->members, declares, &JsonMember::name);
}

std::string CallBuilder::arguments() const {
  if (!body_.empty() && parameters_.empty()) return body_;
  std::string text = "{";
  for (const Parameter& parameter : parameters_) {
    if (&parameter != &parameters_.front()) text += ", ";
    text += json_string(parameter.name) + ": " + parameter.json;
  }
  return text + "}";
}

ReplyCall CallBuilder::finish(std::vector<Diagnostic>& diagnostics) const {
  ReplyCall call{.name = tool_, .arguments = arguments()};
  const bool body_and_parameters = !body_.empty() && !parameters_.empty();
  if (has_duplicates(diagnostics) || malformed_ || body_and_parameters) {
    call.status = CallStatus::malformed;
  }
  const DeclaredTool* tool = declaration();
  if (tool == nullptr) {
    diagnostics.push_back({.code = "unknown_tool", .tool = tool_});
    call.status = CallStatus::unknown_tool;
  } else if (wraps_all_arguments(*tool)) {
    diagnostics.push_back({.code = "unwrapped_arguments", .tool = tool_});
    call.arguments = trimmed(parameters_.front().object);
  }
  return call;
}

}  // namespace fathom::agent::prompt
