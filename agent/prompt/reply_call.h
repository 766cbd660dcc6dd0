// One call while it is read: its parameters, and what is put right when it is complete.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/prompt/reply_parser.h"

namespace fathom::agent::prompt {

class CallBuilder {
 public:
  CallBuilder(std::string tool, const std::vector<DeclaredTool>& declared)
      : tool_(std::move(tool)), declared_(declared) {}

  const std::string& tool() const noexcept { return tool_; }
  bool is_declared() const noexcept { return declaration() != nullptr; }
  void mark_malformed() noexcept { malformed_ = true; }

  // A parameter of string="true".
  void add_text(std::string name, std::string text);

  // A parameter of string="false": JSON as sampled, or a string if it is none.
  void add_json(std::string name, const std::string& text, std::vector<Diagnostic>& diagnostics);

  // Text that stands between the parameters: the arguments as one JSON object, or junk.
  void add_body(std::string_view text, std::vector<Diagnostic>& diagnostics);

  ReplyCall finish(std::vector<Diagnostic>& diagnostics) const;

 private:
  struct Parameter {
    std::string name;
    std::string json;    // its value as JSON text
    std::string object;  // where an object of all arguments may be: the JSON, or the string's text
  };

  const DeclaredTool* declaration() const noexcept;
  bool wraps_all_arguments(const DeclaredTool& tool) const;
  bool has_duplicates(std::vector<Diagnostic>& diagnostics) const;
  std::string arguments() const;

  std::string tool_;
  const std::vector<DeclaredTool>& declared_;
  std::vector<Parameter> parameters_;
  std::string body_;  // JSON object; empty: none
  bool malformed_ = false;
};

}  // namespace fathom::agent::prompt
