// The same program again, as a user starts it anew: to the first token, or until it is killed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fathom::bench {

// What a process tells of its way to the first token.
struct FirstToken {
  double seconds = 0;         // from the start of the process until it had the logits
  double loaded_seconds = 0;  // of them, until the model was loaded
  int prefilled = 0;
  int reused_disk = 0;
  std::int64_t state_bytes = 0;
  std::uint64_t bits = 0;  // of the logits
};

// Starts a process that takes up the trajectory of `length` tokens over the cache in `folder`.
FirstToken first_token_of_another(const std::string& model, const std::filesystem::path& folder,
                                  int length);

// Starts a process that goes on to `end` tokens and kills it when it has computed `from` of them
// and is at work on the rest.
void kill_another_in_a_turn(const std::string& model, const std::filesystem::path& folder, int from,
                            int end);

// In such a process: does what `words`, the command line's, ask for. False if they ask for nothing.
bool is_another(const std::vector<std::string>& words);

}  // namespace fathom::bench
