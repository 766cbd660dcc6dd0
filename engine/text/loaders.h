// Reading a tokenizer from its file.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/text/tables.h"

namespace fathom::engine {

// Both throw Error, which names the file, if it is missing, malformed, or not byte-level BPE with
// the split patterns of splitter.h.
std::unique_ptr<const TokenizerTables> load_tokenizer_json(const std::filesystem::path& path);
std::unique_ptr<const TokenizerTables> load_tokenizer_gguf(const std::filesystem::path& path);

}  // namespace fathom::engine
