// What the engine throws when rows that it took from the cache's files are no longer there.
#pragma once

#include "engine/error.h"

namespace fathom::engine {

// Pages of a session were mapped from a file that somebody cut, or whose disk fails. Whatever was
// computed from them counts for nothing; its tokens can be computed again.
class LostRows : public Error {
 public:
  LostRows()
      : Error(
            "rows of the prefix cache can no longer be read from their file, expected them to "
            "stay: somebody cut it, or the disk may be failing; `fathom cache verify` says which") {
  }
};

}  // namespace fathom::engine
