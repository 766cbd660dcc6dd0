// Fills a cache without computing: for measuring at depths that would take hours to reach.
#pragma once

#include <cstdint>

#include "engine/cache/kv_cache.h"

namespace fathom::engine {

// Makes `cache` hold `tokens` tokens whose rows, keys and unfinished windows are random but of the
// size that normalised ones have, each row different. The same on every machine.
// May throw std::bad_alloc.
void fill_random(KvCache& cache, int tokens);

}  // namespace fathom::engine
