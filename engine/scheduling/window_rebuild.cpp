// Page by page, each through one layer more than the one before.
#include "engine/scheduling/window_rebuild.h"

#include <cassert>

#include "engine/cache/rebuild_plan.h"

namespace fathom::engine {

std::shared_ptr<const Snapshot> rebuild_windows(Scheduler::Member& member, const KnownRows& rows,
                                                Report& report, const std::stop_token& stop) {
  const auto pages = static_cast<int>(rows.pages.size());
  assert(std::ssize(rows.tokens) == std::int64_t{pages} * kPageTokens);
  const auto layers = static_cast<std::int64_t>(rows.shape->layers.size());
  const RebuildPlan plan(*rows.shape, pages);
  const int done_before = report.done;

  KvCache cache(rows.shape);
  cache.adopt(rows.pages.first(static_cast<std::size_t>(plan.first_page())));
  Snapshot before;
  std::int64_t computed = 0;  // tokens times layers
  for (int page = plan.first_page(); page < pages; ++page) {
    const int end = (page + 1) * kPageTokens;
    cache.reserve(end);
    while (cache.length() < end) {
      const auto at = static_cast<std::size_t>(cache.length());
      const int done =
          member.compute({.cache = cache,
                          .tokens = rows.tokens.subspan(at, static_cast<std::size_t>(end) - at),
                          .before = before,
                          .goes_on = true,
                          .layers = plan.layers(page),
                          .report = &report,
                          .stop = stop});
      if (done == 0) return nullptr;
      computed += std::int64_t{done} * plan.layers(page);
      report.done = done_before + static_cast<int>(computed / layers);
    }
    cache.replace_page(page, rows.pages[static_cast<std::size_t>(page)]);
  }
  report.done = done_before + plan.tokens();
  auto state = std::make_shared<Snapshot>();
  cache.capture(*state);
  return state;
}

}  // namespace fathom::engine
