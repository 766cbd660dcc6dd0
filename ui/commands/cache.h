// `fathom cache`: what is kept of computed tokens.
#pragma once

#include <cstdint>
#include <string>

#include "ui/commands/run.h"

namespace fathom::ui {

struct CacheCommandOptions {
  std::string action;  // list, stat, verify, prune
  CacheOptions cache;
  bool json = false;
  bool all = false;        // prune: everything
  std::uint64_t keep = 0;  // prune: bytes to keep at most; 0: all that can be reached
};

// verify: 1 if anything is damaged.
int cache(const CacheCommandOptions& options);

}  // namespace fathom::ui
