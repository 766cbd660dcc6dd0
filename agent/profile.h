// What stands before the first message: system text, tools and the project's instructions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fathom::agent {

// How a model wants to be prompted. A model folder may carry it as agent.json.
struct Profile {
  std::string system;
  std::vector<std::string> tools;  // names, in the order of the prompt
  bool render_tools = true;        // whether schemas stand in the prompt; false: trained on them
  double temperature = 1;          // when nobody asks for another; agent.json profiles are greedy
  std::string instructions;        // read_instructions(); empty: none
};

// agent.json beside the weights at `model`, or else the built-in profile for V4 checkpoints.
// Throws Error if the file is there but is not such an object.
Profile load_profile(const std::filesystem::path& model);

// "# AGENTS.md", a newline and the text of AGENTS.md in the workspace's root (of CLAUDE.md where
// there is none), trailing newlines removed, cut at 32 KiB. Empty when there is neither.
std::string read_instructions(const std::filesystem::path& workspace);

// System text with the instructions after it.
std::string system_text(const Profile& profile);

}  // namespace fathom::agent
