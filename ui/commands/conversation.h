// `fathom conversation`: what the store keeps.
#pragma once

#include <filesystem>
#include <string>

namespace fathom::ui {

struct ConversationOptions {
  std::string action;  // list, show, export
  std::string id;      // a conversation's id or a unique beginning of it
  std::filesystem::path store;
  bool json = false;
  int limit = 50;
};

int conversation(const ConversationOptions& options);

}  // namespace fathom::ui
