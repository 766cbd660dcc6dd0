// What stands before the first message: effort text, system text, instructions and tools.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/prompt/message.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

namespace fathom::agent {

struct Opening {
  prompt::Effort effort = prompt::Effort::none;  // whose text comes first, if it has any
  std::string system = {};
  std::string instructions = {};        // the project's; empty where they are part of `system`
  std::vector<std::string> tools = {};  // names, in the order of the prompt

  std::string text() const;  // system text with the instructions behind it
};

// The tokens, and where their parts begin.
struct RenderedOpening {
  enum class Part { effort, system, instructions, tools };
  struct Begin {
    Part part = Part::system;
    int position = 0;
  };
  std::vector<engine::Token> tokens = {};
  std::vector<Begin> parts = {};
};

// `schemas`: of the tools, as far as the model is shown them. Throws Error if they are no JSON.
RenderedOpening render(const Opening& opening, const std::vector<std::string>& schemas,
                       engine::Family family, const engine::Tokenizer& tokenizer);

// What differs, for people: "the effort text", "the system text and the tools"; empty: nothing.
std::string changes(const Opening& from, const Opening& to);

// "none", "high", "max"; none for every other word.
std::string_view name(prompt::Effort effort) noexcept;
prompt::Effort effort_by_name(std::string_view name) noexcept;

}  // namespace fathom::agent
