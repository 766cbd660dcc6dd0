// `fathom debug`: logits, rendering, parsing and tokens by hand, for bug reports and acceptance.
#pragma once

#include <string>

#include "ui/commands/run.h"

namespace fathom::ui {

struct DebugLogitsOptions {
  ModelOptions model;
  std::string ids;                 // file with decimal token ids
  std::string out;                 // little-endian float32 rows
  std::string positions = "all";   // or 0,5,9
  std::string rounding = "exact";  // --kv: exact, f16, official
  std::string activations = "native";
  int chunk = 0;       // feed in chunks of N; 0: whole
  bool step = false;   // token by token
  int restore_at = 0;  // after N tokens save, drop, load in a fresh session, go on
  std::string mtp_positions;
  std::string mtp_out;
};

int debug_logits(const DebugLogitsOptions& options);

// Each reads JSON lines from standard input and answers each with one JSON line.
int debug_render(const std::string& tokenizer);
int debug_parse();
int debug_tokenize(const std::string& tokenizer);
int debug_detokenize(const std::string& tokenizer);

}  // namespace fathom::ui
