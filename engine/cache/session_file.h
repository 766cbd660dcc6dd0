// The file a session is saved to: header, tokens, fixed part, pages, logits, checksum.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "engine/cache/kv_cache.h"
#include "engine/tokenizer.h"

namespace fathom::engine {

// What is saved beside the cache.
struct SessionContents {
  std::vector<Token> tokens;
  std::vector<float> logits;  // of the last token; may be empty
};

// Replaces `file` in one step: whoever reads it finds the old or the new contents.
// Throws Error that names the file if it cannot be written.
void write_session(const std::filesystem::path& file, std::string_view fingerprint,
                   const KvCache& cache, const SessionContents& contents);

// Fills `cache`, which must be new. Throws Error that names the file if it is no session, of
// another version or fingerprint, truncated or altered; `cache` is then not to be used.
SessionContents read_session(const std::filesystem::path& file, std::string_view fingerprint,
                             int vocab_size, KvCache& cache);

}  // namespace fathom::engine
