// Ranks of waiting requests.
#include "engine/scheduling/queue.h"

#include <algorithm>
#include <cassert>

namespace fathom::engine {
namespace {

// Beyond it all are equal: they have waited a thousand times longer than anybody should.
constexpr double kRankMax = 1000;

}  // namespace

void Queue::add(Job& job) {
  assert(jobs_.size() < jobs_.capacity());
  jobs_.push_back(&job);
}

void Queue::remove(Job& job) {
  std::erase(jobs_, &job);
}

int Queue::rank(const Job& job, Time now) const {
  const double waited = std::chrono::duration<double>(now - job.arrived).count();
  const double rank = static_cast<double>(job.seat.priority) + std::max(0.0, waited) / patience_s_;
  return static_cast<int>(std::min(rank, kRankMax));
}

Job* Queue::first(bool decodes, Time now) const {
  Job* first = nullptr;
  for (Job* job : jobs_) {
    if (job->decodes() != decodes || job->stopping()) continue;
    if (first == nullptr || rank(*job, now) > rank(*first, now)) first = job;
  }
  return first;
}

}  // namespace fathom::engine
