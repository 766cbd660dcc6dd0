// Writes a Hugging Face checkpoint as GGUF files that this program and llama.cpp load.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace fathom::engine {

struct ConvertOptions {
  std::filesystem::path source;  // a Hugging Face folder
  std::filesystem::path target;  // NAME.gguf; MTP blocks go to NAME.mtp.gguf

  // Types of the routed experts and of the projections: attention, shared experts. Empty: as the
  // checkpoint stores them, FP4 as MXFP4 and FP8 as Q8_0. Other matrices and all vectors keep what
  // they have. Rows that are no whole blocks of the type get another one.
  std::string experts;
  std::string projections;

  bool overwrite = false;
  int threads = 0;  // 0: one per core
};

struct ConvertReport {
  bool finished = false;                     // false: stopped
  std::vector<std::filesystem::path> files;  // complete ones
  std::int64_t bytes = 0;                    // of all files
  std::int64_t resumed_bytes = 0;            // that an earlier call had written
  std::vector<std::string> notes;            // sentences about types that were not taken
};

// Names that the options take, lower case.
std::vector<std::string> convertible_types();

// Converts row by row: needs memory for rows, not for tensors. Until a file is complete it has
// another name, NAME.gguf.part; a later call with the same options and source goes on where an
// earlier one was stopped or killed. `progress` is told bytes written and bytes of all files.
//
// Throws Error if the source is no Hugging Face folder or damaged, if a file is there and must not
// be overwritten, or when the disk is full or fails: what is written then stays for a later call.
ConvertReport convert_model(
    const ConvertOptions& options,
    const std::function<void(std::int64_t bytes, std::int64_t total)>& progress,
    std::stop_token stop);

}  // namespace fathom::engine
