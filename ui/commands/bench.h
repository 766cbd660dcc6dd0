// `fathom bench`: tokens per second of prefill and decode, in the manner of llama-bench.
#pragma once

#include <string>
#include <vector>

#include "ui/commands/run.h"

namespace fathom::ui {

struct BenchOptions {
  ModelOptions model;
  std::vector<int> prefill_tokens = {512};  // -p
  std::vector<int> decode_tokens = {64};    // -n
  std::vector<int> depths = {0};            // -d
  int rounds = 3;                           // -r
  bool greedy = false;      // decode the model's own likeliest tokens, not random ones
  std::vector<int> verify;  // rows of passes whose logits are all wanted, 1 to kVerifyMax
  int sessions = 1;         // that prefill or decode together; rates are of all of them
  std::string fill;  // how a depth is reached: compute, random; empty: computed as far as 16384
  int every = 0;     // tokens between lines about a filling's speed; 0: none
  std::string rounding = "official";  // cache rounding: exact, f16, official
  std::string activations = "native";
  // Also: how long a prefill is silent, and goes on after a stop, and what a token takes beside
  // one.
  bool waits = false;
  bool peaks = false;  // measure the machine instead of a model
  bool json = false;
};

int bench(const BenchOptions& options);

}  // namespace fathom::ui
