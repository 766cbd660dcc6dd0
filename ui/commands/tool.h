// `fathom tool`: one tool by hand, its outcome as the model would get it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fathom::ui {

struct ToolOptions {
  std::string name;                 // empty: list the tools
  std::vector<std::string> values;  // key=value, key=@FILE, key=@- (standard input)
  std::string arguments;            // the whole object as JSON
  std::filesystem::path workspace = ".";
  std::string sandbox = "workspace";
  bool schema = false;  // print the schema instead of running
};

// Prints the outcome; returns 0 when it is ok and 1 when it is a refusal or a failure.
int tool(const ToolOptions& options);

}  // namespace fathom::ui
