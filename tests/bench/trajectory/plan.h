// Which tokens a trajectory has, and at which lengths its logits are held against a fresh run.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace fathom::bench {

struct Asked {
  std::string model;
  int tokens = 32768;
  int turns = 200;
  std::filesystem::path keep;  // where what takes long is kept; empty: nowhere
  std::string part;            // fresh, turns: only compute and keep this; empty: measure
  bool without_fresh = false;  // logits are held against those of the run that computed the turns
  int threads = 0;
  int flash = 0;        // tokens at V4-Flash's shape; 0: a model is computed
  bool random = false;  // rows are random instead of computed: for lines of time and bytes alone
  std::vector<std::string> rows;  // lines to print, by the names below; empty: all

  bool wants(std::string_view row) const;
};

// Of a model: turns restart overhead fork rewind disk writing killed shared. At V4-Flash's shape:
// fork disk restore rewind. With random rows: overhead fork writing.

// Lengths in tokens, all of one trajectory; in the order in which they are reached.
struct Plan {
  explicit Plan(const Asked& asked);

  static constexpr int kSteps = 70;         // short steps behind the turns
  static constexpr int kStepTokens = 10;    // of each
  static constexpr int kKept = 64;          // steps that can be gone back to for nothing
  static constexpr int kTurnTokens = 1500;  // of the turn in which the process is killed
  static constexpr int kOverheads = 7;      // turns of one token, each followed by one decoded

  int end;                 // of the turns
  int restarted;           // after a restart: a few new tokens
  int overheads;           // after the turns of one token
  int aligned;             // a multiple of 128: here a fork copies least
  int steps_end;           // of all short steps
  int killed_end;          // of the turn in which the process is killed
  std::vector<int> older;  // places to go back to, all before `end`

  int step_end(int step) const { return aligned + kStepTokens * step; }
  std::vector<int> checked() const;  // ascending: where logits are compared
};

std::vector<engine::Token> some_tokens(int count, int vocab);

}  // namespace fathom::bench
