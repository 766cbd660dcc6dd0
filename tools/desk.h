// Desk: what the standard tools share, and the list of them.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "sandbox/policy.h"
#include "tools/shorten.h"
#include "tools/tool.h"

namespace fathom::tools {

struct DeskOptions {
  std::filesystem::path workspace = {};  // must exist

  // How many tokens a text is for the model. Called about once per shown line.
  TokenCounter count_tokens = estimate_tokens;

  // A private folder that keeps outcomes too long to show, created if missing. Empty: a temporary
  // one that goes with the desk. read_file finds its files as out/N.txt.
  std::filesystem::path kept = {};

  // Whether write_file and edit_file insist that the model has seen what it changes.
  bool must_have_read = true;
};

// Belongs to one conversation: it remembers which lines of which files the model has been shown.
class Desk {
 public:
  // `policy` holds for run_command, its profile also for the file tools; its workspace is replaced
  // by that of the options. Throws Error or sandbox::Error if the workspace is no folder or `kept`
  // cannot be made.
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
// borrow the desk, which must outlive them, and may run on several threads.
std::vector<Tool> standard_tools(Desk& desk);

}  // namespace fathom::tools
