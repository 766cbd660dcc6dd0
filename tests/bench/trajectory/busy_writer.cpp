// All blocks share one page: what is written is bytes, whatever they mean.
#include "trajectory/busy_writer.h"

#include <algorithm>

#include "engine/cache/shared_prefixes.h"
#include "engine/model/engine_parts.h"

namespace fathom::bench {

using namespace engine;

BusyWriter::BusyWriter(const Engine& engine, const std::filesystem::path& folder)
    : cache_(std::make_unique<PrefixCache>(engine, PrefixCacheOptions{.folder = folder})) {
  constexpr std::int64_t kBytes = 200'000'000;
  const std::int64_t page_bytes = engine.parts().shape->page_bytes;
  const Page page = std::make_shared<std::byte[]>(static_cast<std::size_t>(page_bytes));
  PrefixCache::Parts& parts = cache_->parts();
  BlockKey key = parts.root();
  for (int number = 0; number < kBytes / page_bytes; ++number) {
    Block block{.parent = key, .number = number, .page = page};
    std::ranges::fill(block.ids, number);
    key = next_key(key, block.ids);
    parts.add_block(key, block);
  }
}

}  // namespace fathom::bench
