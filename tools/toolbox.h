// Toolbox: looks a called tool up, checks the arguments against its schema, runs it.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "tools/tool.h"

namespace fathom::tools {

class Toolbox {
 public:
  // Keeps the order: it is the order of the schemas in the prompt. Throws Error if a schema is not
  // JSON or not an object schema, or if a name occurs twice.
  explicit Toolbox(std::vector<Tool> tools);

  // Runs one call and always has an outcome: an unknown tool, arguments that are no JSON or do not
  // fit, and failures inside the tool become text that says what to do next. `arguments` is a JSON
  // object. Only sandbox::Error passes through: without the sandbox no call may run.
  Outcome run(std::string_view name, std::string_view arguments, const OutputCallback& output = {},
              std::stop_token stop = {}) const;

  // nullptr if there is no such tool.
  const Tool* find(std::string_view name) const noexcept;

  const std::vector<Tool>& tools() const noexcept { return tools_; }

  // Only these tools, in this order. Throws Error if one does not exist.
  void keep(const std::vector<std::string>& names);

 private:
  Outcome unknown(std::string_view name) const;

  std::vector<Tool> tools_;
};

}  // namespace fathom::tools
