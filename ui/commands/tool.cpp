// `fathom tool`.
#include "ui/commands/tool.h"

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <optional>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/desk.h"
#include "tools/toolbox.h"
#include "ui/plain_text.h"
#include "ui/wire.h"

namespace fathom::ui {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kExitRefused = 1;
constexpr int kExitUsage = 2;

// A command line that makes no call. Its text says how to write it.
struct Usage {
  std::string text;
};

std::string read_value(const std::string& key, const std::string& value) {
  std::string text = value;
  if (value == "@-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else if (value.starts_with('@')) {
    std::ifstream file(value.substr(1), std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
    if (!file) throw Usage{fmt::format("{}={}: the file cannot be read", key, value)};
  }
  // Arguments are JSON; to repair the text silently would write something else than was given.
  if (valid_utf8(text) != text) {
    throw Usage{fmt::format("{}: not UTF-8; a tool's arguments are text", key)};
  }
  return text;
}

// A string stays one where the schema wants something else that it does not spell: the tool then
// says what it needs.
Json typed(const std::string& text, const std::string& type) {
  if (type == "boolean" && (text == "true" || text == "false")) return text == "true";
  if (type != "integer") return text;
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? Json(number) : Json(text);
}

// key=value … as the object a model would send.
std::string arguments_of(const ToolOptions& options, const tools::Tool* tool) {
  if (options.values.empty()) return options.arguments.empty() ? "{}" : options.arguments;
  if (!options.arguments.empty()) throw Usage{"give key=value or --arguments, not both"};
  const Json schema = tool ? Json::parse(tool->schema) : Json::object();
  Json object = Json::object();
  for (const std::string& value : options.values) {
    const auto equals = value.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw Usage{fmt::format("\"{}\" is no key=value", value)};
    }
    const std::string key = value.substr(0, equals);
    const std::string text = read_value(key, value.substr(equals + 1));
    const Json::json_pointer type("/parameters/properties/" + key + "/type");
    object[key] = typed(text, schema.value(type, "string"));
  }
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void list(const tools::Toolbox& toolbox, bool with_schemas) {
  for (const tools::Tool& tool : toolbox.tools()) {
    const Json schema = Json::parse(tool.schema);
    if (with_schemas) {
      fmt::print("{}\n", tool.schema);
    } else {
      fmt::print("{:<13} {:<7} {}\n", tool.name, tools::name(tool.effect),
                 schema.value("description", ""));
    }
  }
}

// Every call by hand is a process of its own, so what one of them keeps must outlive it: one folder
// per workspace below the user's state directory.
std::filesystem::path kept_folder(const std::filesystem::path& workspace) {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path base;
  if (state && *state == '/') {
    base = state;
  } else if (home && *home == '/') {
    base = std::filesystem::path(home) / ".local/state";
  } else {
    return {};
  }
  const auto hash = std::hash<std::string>{}(std::filesystem::canonical(workspace).string());
  return base / "fathom" / "tool" / fmt::format("{:016x}", hash);
}

int run(const ToolOptions& options) {
  if (!std::filesystem::is_directory(options.workspace)) {
    throw Usage{fmt::format("--workspace {}: not a folder", options.workspace.string())};
  }
  sandbox::Policy policy;
  if (options.sandbox == "read-only") policy.profile = sandbox::Profile::read_only;
  tools::Desk desk({.workspace = options.workspace,
                    .kept = kept_folder(options.workspace),
                    .must_have_read = false},
                   policy);
  const tools::Toolbox toolbox(tools::standard_tools(desk));
  if (options.name.empty()) {
    list(toolbox, options.schema);
    return 0;
  }
  const tools::Tool* tool = toolbox.find(options.name);
  if (options.schema && tool) {
    fmt::print("{}\n", tool->schema);
    return 0;
  }
  const tools::Outcome outcome = toolbox.run(options.name, arguments_of(options, tool));
  // A terminal obeys what a model only reads.
  const bool to_person = ::isatty(STDOUT_FILENO) == 1;
  fmt::print("{}\n", to_person ? visible(outcome.text) : outcome.text);
  return outcome.status == tools::Status::ok ? 0 : kExitRefused;
}

}  // namespace

int tool(const ToolOptions& options) {
  try {
    return run(options);
  } catch (const Usage& usage) {
    fmt::print(stderr,
               "fathom tool: {}\n"
               "Usage: fathom tool [NAME] [key=value | key=@FILE | key=@-]... | --arguments JSON\n",
               usage.text);
    return kExitUsage;
  }
}

}  // namespace fathom::ui
