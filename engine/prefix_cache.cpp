// The shared cache as programs see it.
#include "engine/prefix_cache.h"

#include <cstdlib>
#include <utility>

#include "engine/cache/shared_prefixes.h"
#include "engine/model/engine_parts.h"

namespace fathom::engine {

std::filesystem::path PrefixCache::default_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache != nullptr && *cache == '/') {
    folder = cache;
  } else if (home != nullptr && *home == '/') {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  return folder / "fathom" / "kv";
}

PrefixCache::PrefixCache(const Engine& engine, PrefixCacheOptions options)
    : parts_(std::make_unique<Parts>(engine.fingerprint(), engine.parts().shape,
                                     std::move(options))) {}

PrefixCache::~PrefixCache() = default;

CacheUse PrefixCache::use() const {
  return parts_->use();
}

void PrefixCache::flush() {
  parts_->flush();
}

PrefixCache::Parts& PrefixCache::parts() noexcept {
  return *parts_;
}

}  // namespace fathom::engine
