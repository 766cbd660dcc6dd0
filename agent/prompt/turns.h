// A request made ready for rendering: tools attached, user turns merged, results in the order of
// their calls, reasoning that is not shown again removed (chat encoding 5.1).
#pragma once

#include <string>
#include <vector>

#include "agent/prompt/message.h"
#include "agent/prompt/render.h"

namespace fathom::agent::prompt {

// One message, or the run of user and tool messages that forms one user turn.
struct Turn {
  struct Part {
    Block block;
    std::string call_id;  // of a result
  };
  Message message;
  std::vector<Part> parts;  // of a user turn, whose `message` has only role and task
  bool in_context = false;  // not to be rendered

  bool asks() const noexcept;  // user or developer
};

struct Turns {
  std::vector<Turn> all;
  bool keeps_reasoning = false;  // of all turns; else only of those after the last question
  int last_question = -1;        // index of the last user or developer turn
};

Turns prepare(const Request& request);

}  // namespace fathom::agent::prompt
