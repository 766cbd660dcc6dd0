// Queue: requests that no pass has taken yet, and which of them goes next.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/scheduling/job.h"

namespace fathom::engine {

// The highest rank goes first, of equal ranks who came first. Sessions come back with the next
// tokens when the last are done, so that equal ones take turns. Nothing allocates after the
// constructor.
class Queue {
 public:
  using Time = Report::Clock::time_point;

  Queue(std::size_t jobs_max, double patience_s) : patience_s_(patience_s) {
    jobs_.reserve(jobs_max);
  }

  void add(Job& job);
  void remove(Job& job);

  // Null if there is none. Those that are stopped are passed over.
  Job* first(bool decodes, Time now) const;
  // The priority, raised by the time that the job has waited.
  int rank(const Job& job, Time now) const;

  // In the order in which they came.
  const std::vector<Job*>& jobs() const noexcept { return jobs_; }

 private:
  double patience_s_;
  std::vector<Job*> jobs_;
};

}  // namespace fathom::engine
