// Names of the errors, and how the parts of a message are joined.
#include "agent/prompt/message.h"

namespace fathom::agent::prompt {

std::string_view code(RenderError error) noexcept {
  switch (error) {
    case RenderError::developer_content_required:
      return "developer_content_required";
    case RenderError::unknown_role:
      return "unknown_role";
    case RenderError::unknown_task:
      return "unknown_task";
    case RenderError::invalid_reasoning_effort:
      return "invalid_reasoning_effort";
    case RenderError::invalid_thinking_mode:
      return "invalid_thinking_mode";
    case RenderError::invalid_json:
      return "invalid_json";
    case RenderError::invalid_request:
      return "invalid_request";
  }
  return "";
}

std::string join_parts(const std::vector<Part>& parts) {
  std::string text;
  for (const Part& part : parts) {
    if (&part != &parts.front()) text += "\n\n";
    text += part.type == "text" ? part.text : "[Unsupported " + part.type + "]";
  }
  return text;
}

}  // namespace fathom::agent::prompt
