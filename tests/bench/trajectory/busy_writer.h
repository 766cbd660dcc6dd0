// A cache whose writer has work for as long as this lives, or nearly.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/prefix_cache.h"

namespace fathom::bench {

class BusyWriter {
 public:
  // Queues about 200 MB of blocks; who ends it waits until they are written.
  BusyWriter(const engine::Engine& engine, const std::filesystem::path& folder);

 private:
  std::unique_ptr<engine::PrefixCache> cache_;
};

}  // namespace fathom::bench
