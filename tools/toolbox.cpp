// Looks tools up, checks arguments, and turns every failure into text for the model.
#include "tools/toolbox.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "sandbox/error.h"
#include "tools/error.h"
#include "tools/schema.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

using Json = nlohmann::ordered_json;

// No schema of ours nests deeper; a parser without limit would overflow its stack.
constexpr int kDepthMax = 64;

// What people and models call our tools elsewhere, and what to say then.
struct Alias {
  std::string_view name;
  std::string_view tool;
  std::string_view use;
};
constexpr std::array kAliases = {Alias{"grep", "search_files", "For text search"},
                                 Alias{"rg", "search_files", "For text search"},
                                 Alias{"search", "search_files", "For text search"},
                                 Alias{"find", "search_files", "For file names"},
                                 Alias{"glob", "search_files", "For file names"},
                                 Alias{"ls", "read_file", "For a folder's entries"},
                                 Alias{"list_files", "read_file", "For a folder's entries"},
                                 Alias{"cat", "read_file", "For reading"},
                                 Alias{"read", "read_file", "For reading"},
                                 Alias{"view", "read_file", "For reading"},
                                 Alias{"open", "read_file", "For reading"},
                                 Alias{"write", "write_file", "For writing"},
                                 Alias{"create_file", "write_file", "For writing"},
                                 Alias{"edit", "edit_file", "For editing"},
                                 Alias{"str_replace", "edit_file", "For editing"},
                                 Alias{"apply_patch", "edit_file", "For editing"},
                                 Alias{"bash", "run_command", "For commands"},
                                 Alias{"shell", "run_command", "For commands"},
                                 Alias{"sh", "run_command", "For commands"},
                                 Alias{"exec", "run_command", "For commands"},
                                 Alias{"python", "run_command", "For commands"}};

Json parse_arguments(std::string_view text) {
  return Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
    if (depth > kDepthMax) throw Error("nested too deeply");
    return true;
  });
}

std::string type_word(const Json& value) {
  return value.is_number_integer() ? "integer" : value.type_name();
}

std::string declared_type(const nlohmann::json& properties, const std::string& name) {
  const auto property = properties.find(name);
  const bool typed = property != properties.end() && property->contains("type") &&
                     property->at("type").is_string();
  return typed ? property->at("type").get<std::string>() : "a value";
}

// What is wrong with the arguments of a call, in the words the model reads; empty if nothing is.
std::string fault_of(const Tool& tool, const Json& arguments) {
  const nlohmann::json parameters = nlohmann::json::parse(tool.schema).at("parameters");
  const nlohmann::json properties = parameters.value("properties", nlohmann::json::object());
  for (const auto& [name, value] : arguments.items()) {
    if (properties.contains(name)) continue;
    // Parsed again with its order: that of the prompt.
    const Json declared = Json::parse(tool.schema)["parameters"]["properties"];
    std::vector<std::string> names;
    for (const auto& [known, schema] : declared.items()) names.push_back(known);
    return fmt::format("{} has no parameter {}. It takes: {}.", tool.name, name, join(names));
  }
  std::vector<std::string> needed;
  std::set<std::string> mistyped;
  for (const SchemaFault& fault : Schema(parameters).check(nlohmann::json(arguments))) {
    const bool missing = fault.keyword == "required" && fault.place.empty();
    const std::string name =
        missing ? fault.wanted : fault.place.substr(0, fault.place.find('/', 1));
    const std::string parameter =
        missing ? name : name.substr(std::min<std::size_t>(1, name.size()));
    const bool declared = missing || fault.keyword == "type";
    needed.push_back(fmt::format("{} ({})", parameter,
                                 declared ? declared_type(properties, parameter) : fault.wanted));
    if (!missing) mistyped.insert(parameter);
  }
  if (needed.empty()) return "";
  std::vector<std::string> got;
  for (const auto& [name, value] : arguments.items()) {
    got.push_back(mistyped.contains(name) ? fmt::format("{} ({})", name, type_word(value)) : name);
  }
  return fmt::format("{} needs {}. Got: {}.", tool.name, join(needed),
                     got.empty() ? "nothing" : join(got));
}

Outcome invalid(std::string text) {
  return {.status = Status::invalid, .text = repair_utf8(text)};
}

}  // namespace

Toolbox::Toolbox(std::vector<Tool> tools) : tools_(std::move(tools)) {
  std::set<std::string> names;
  for (const Tool& tool : tools_) {
    if (!names.insert(tool.name).second) {
      throw Error(fmt::format("tool {} is there twice", tool.name));
    }
    const Json schema = Json::parse(tool.schema, nullptr, /*allow_exceptions=*/false);
    if (!schema.is_object() || schema.value("name", "") != tool.name ||
        !schema.contains("parameters")) {
      throw Error(fmt::format("tool {}: its schema is not a function object of that name: {}",
                              tool.name, tool.schema));
    }
    static_cast<void>(Schema(schema.at("parameters")));  // throws if it is none
  }
}

const Tool* Toolbox::find(std::string_view name) const noexcept {
  const auto tool = std::ranges::find(tools_, name, &Tool::name);
  return tool == tools_.end() ? nullptr : &*tool;
}

void Toolbox::keep(const std::vector<std::string>& names) {
  std::vector<Tool> kept;
  for (const std::string& name : names) {
    const Tool* tool = find(name);
    if (!tool) throw Error(unknown(name).text);
    kept.push_back(*tool);
  }
  tools_ = std::move(kept);
}

Outcome Toolbox::unknown(std::string_view name) const {
  std::vector<std::string> names;
  for (const Tool& tool : tools_) names.push_back(tool.name);
  std::string text = fmt::format("There is no tool \"{}\". Tools: {}.", name, join(names));
  const auto alias = std::ranges::find(kAliases, name, &Alias::name);
  if (alias != kAliases.end() && find(alias->tool)) {
    text += fmt::format(" {}: {}.", alias->use, alias->tool);
  }
  return invalid(std::move(text));
}

Outcome Toolbox::run(std::string_view name, std::string_view arguments,
                     const OutputCallback& output, std::stop_token stop) const {
  const auto begin = std::chrono::steady_clock::now();
  const Tool* tool = find(name);
  if (!tool) return unknown(name);
  Json object;
  try {
    object = parse_arguments(arguments);
  } catch (const std::exception&) {
    return invalid(fmt::format("{} needs its arguments as one JSON object. Got: {}.", name,
                               cut_line(repair_utf8(arguments), 200)));
  }
  if (!object.is_object()) {
    return invalid(fmt::format("{} needs its arguments as one JSON object. Got: {}.", name,
                               type_word(object)));
  }
  if (std::string fault = fault_of(*tool, object); !fault.empty()) return invalid(std::move(fault));

  Outcome outcome;
  try {
    outcome = tool->run(
        Arguments(object), output ? output : [](std::string_view) {}, stop);
  } catch (const sandbox::Error&) {
    throw;
  } catch (const std::exception& error) {
    outcome = {.status = Status::failed,
               .text = repair_utf8(fmt::format("{} failed: {}", name, error.what()))};
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (outcome.seconds == 0) outcome.seconds = seconds.count();
  return outcome;
}

}  // namespace fathom::tools
