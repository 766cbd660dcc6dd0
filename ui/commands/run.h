// `fathom run`: one turn without a terminal conversation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fathom::ui {

// Where the weights are and how they are computed; shared by every command that loads a model.
struct ModelOptions {
  std::string path;              // file or folder; empty: FATHOM_MODEL, then the embedded pocket
  std::string kernels = "auto";  // or a set by name
  int threads = 0;               // 0: one per core
  std::string mtp = "auto";      // auto: draft with the model's MTP block; off; or the block's file
  int draft = -1;                // tokens drafted for each pass; -1: as many as pay
  std::uint64_t weights_memory = 0;  // bytes of weights in memory; 0: all are mapped
};

// What is kept of computed tokens; shared by every command that holds conversations.
struct CacheOptions {
  std::filesystem::path folder;  // empty: engine::PrefixCache::default_folder()
  std::uint64_t memory_bytes = std::uint64_t{4} << 30;
  std::uint64_t disk_bytes = std::uint64_t{64} << 30;  // 0: nothing is kept on disk
};

struct RunOptions {
  std::string prompt;  // "-" reads standard input; piped input is appended as a <stdin> block
  ModelOptions model;
  std::filesystem::path workspace = ".";
  std::vector<std::filesystem::path> writable_folders;  // --add-dir

  bool continue_latest = false;  // -c
  std::string resume;            // -r ID or words of a message
  bool fork = false;             // go on with a copy
  std::string at;                // --at STEP: from there; without fork the rest becomes a branch
  CacheOptions cache;
  bool explain_cache = false;  // say at every prefill what was reused, and why not more

  std::string mode = "auto";  // auto, fast, think, high, max
  int think_budget = 0;       // tokens per step; 0: none, as for every budget below
  int steps_max = 0;
  int tokens_max = 0;
  double seconds_max = 0;
  std::uint64_t seed = 0;
  std::optional<double> temperature;  // default: greedy for the embedded model, else 1.0

  std::string verify;                 // shell command that must exit 0 after the answer
  std::string sandbox = "workspace";  // read-only, workspace
  std::string network = "off";
  std::vector<std::string> tools;  // empty: those of the prompt profile
  bool no_tools = false;
  std::string system;         // replaces the system text
  std::string append_system;  // follows it
  bool bare = false;          // no AGENTS.md

  std::string output_format = "text";  // text, json, stream-json
  bool include_deltas = false;
  std::filesystem::path trajectory;  // the event stream, also written here
  std::filesystem::path store;       // database; empty: $XDG_DATA_HOME/fathom/memory.sqlite
  bool ephemeral = false;            // nothing is kept
  bool plain = false;  // every event as finished lines on standard output, also into a pipe
  bool no_color = false;
  bool quiet = false;
  bool verbose = false;
};

// Runs the turn, shows it as asked, and returns the exit code of the table in the README.
int run(const RunOptions& options);

}  // namespace fathom::ui
