// A request given as JSON, as an API or a stored history spells it.
#pragma once

#include <string_view>

#include <tl/expected.hpp>

#include "agent/prompt/message.h"

namespace fathom::agent::prompt {

// Members: messages, context, thinking_mode, reasoning_effort, checkpoint, tools, response_format,
// drop_thinking, add_bos, profile; unknown ones are ignored. Rejects unknown roles, tasks, modes
// and efforts instead of guessing, text that is not JSON, and members of the wrong type.
tl::expected<Request, RenderError> read_request(std::string_view json);

}  // namespace fathom::agent::prompt
