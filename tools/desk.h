// Desk: what the standard tools share, and the list of them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "tools/tool.h"

namespace fathom::sandbox {
struct Policy;
}

namespace fathom::tools {

// How many tokens a text is for the model. Must be cheap: it is called once per shown line.
using TokenCounter = std::function<int(std::string_view text)>;

// A third of the bytes: for use without a model.
int estimate_tokens(std::string_view text);

struct DeskOptions {
  std::filesystem::path workspace;  // must exist
  TokenCounter count_tokens = estimate_tokens;

  // A private folder that keeps texts too long for an outcome; created if missing, emptied by
  // nobody. Empty: a temporary one that goes with the desk. read_file finds its files as out/N.txt.
  std::filesystem::path kept;

  // Whether write_file and edit_file insist that the model has seen what it changes.
  bool must_have_read = true;
};

// Belongs to one conversation. Throws Error if the workspace is no folder or `kept` cannot be made.
// Its tools may run on several threads.
class Desk {
 public:
  // `policy` holds for run_command.
  Desk(DeskOptions options, const sandbox::Policy& policy);
  ~Desk();
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;

  struct State;  // private to tools/
  State& state() noexcept { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// run_command, read_file, write_file, edit_file, search_files: in the order of the prompt. They
// borrow the desk, which must outlive them.
std::vector<Tool> standard_tools(Desk& desk);

}  // namespace fathom::tools
