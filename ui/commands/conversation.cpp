// `fathom conversation`.
#include "ui/commands/conversation.h"

#include <stdexcept>

namespace fathom::ui {

int conversation(const ConversationOptions&) {
  throw std::runtime_error("conversation is not part of this build");
}

}  // namespace fathom::ui
