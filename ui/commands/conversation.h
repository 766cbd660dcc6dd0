// `fathom conversation`: what the store keeps.
#pragma once

#include <filesystem>
#include <string>

#include "ui/commands/run.h"

namespace fathom::ui {

struct ConversationOptions {
  std::string action;  // list, show, export, fork, rewind, replay
  std::string id;      // a conversation's id or a unique beginning of it
  std::string at;      // fork, rewind: a step; see step_named()
  ModelOptions model;  // replay
  std::filesystem::path store;
  bool json = false;
  int limit = 50;
};

int replay_conversation(const ConversationOptions& options);  // 1 if any id differs
int conversation(const ConversationOptions& options);

}  // namespace fathom::ui
