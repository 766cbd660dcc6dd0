// Who leads, who goes next, and what becomes of a pass.
#include "engine/scheduling/scheduler.h"

#include <algorithm>
#include <cassert>
#include <new>

#include <fmt/format.h>

#include "engine/error.h"

namespace fathom::engine {
namespace {

using Clock = Report::Clock;
using std::chrono::milliseconds;

// Half of the 0.5 s in which a report is promised.
constexpr double kReportSeconds = 0.25;
// How often those who wait look whether they are stopped, ought to report, or nobody leads.
constexpr milliseconds kLook{20};

// How long a decode pass is held for sessions that are expected: a part of the last pass, at least
// what waking their threads takes, at most what nobody notices.
constexpr double kHoldShare = 0.25;
constexpr double kHoldSecondsMin = 0.0005;
constexpr double kHoldSecondsMax = 0.02;

// A session that decoded so short a time ago will decode again: prefill makes room for it.
constexpr double kRecentSeconds = 1;
constexpr double kRecentTokens = 4;  // or as long as so many of its tokens take
// One that did nothing for so long gives its place to others.
constexpr double kIdleSeconds = 5;

double seconds(Clock::duration duration) noexcept {
  return std::chrono::duration<double>(duration).count();
}

Clock::duration duration(double seconds) noexcept {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

const SchedulingOptions& checked(const SchedulingOptions& options) {
  if (!(options.delay_factor >= 1)) {
    throw Error(fmt::format("delay_factor is {}, but must be at least 1", options.delay_factor));
  }
  if (!(options.patience_s > 0)) {
    throw Error(fmt::format("patience_s is {}, but must be above 0", options.patience_s));
  }
  if (options.sessions_max < 1) {
    throw Error(fmt::format("sessions_max is {}, but must be at least 1", options.sessions_max));
  }
  if (options.session_bytes_max < 0) {
    throw Error(fmt::format("session_bytes_max is {}, but must not be negative",
                            options.session_bytes_max));
  }
  return options;
}

}  // namespace

Scheduler::Scheduler(const Compute& compute, const SchedulingOptions& options)
    : compute_(compute),
      options_(checked(options)),
      queue_(static_cast<std::size_t>(options.sessions_max), options.patience_s),
      decode_(compute_, Pace::kDecodeRowsMax),
      prefill_(compute_, Pace::kRowsMax),
      pace_(options.delay_factor, /*whole_pages=*/compute.experts != nullptr) {
  admitted_.reserve(static_cast<std::size_t>(options.sessions_max));
}

std::int64_t Scheduler::bytes() const {
  const std::lock_guard lock(mutex_);
  return decode_.bytes() + prefill_.bytes();
}

void Scheduler::lock() {
  Lock lock(mutex_);
  ++guests_;
  free_.wait(lock, [&] { return !busy_; });
  busy_ = true;
}

void Scheduler::unlock() {
  const std::lock_guard lock(mutex_);
  busy_ = false;
  --guests_;
  free_.notify_all();
}

void Scheduler::claim(Seat& seat, std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const std::int64_t total = claimed_bytes_ - seat.bytes + bytes;
  if (options_.session_bytes_max > 0 && bytes > seat.bytes && total > options_.session_bytes_max) {
    throw Refusal(fmt::format(
        "the states of all sessions would take {:.3f} GB, and {:.3f} GB are allowed "
        "(session_bytes_max): end another session, use a shorter context, or allow more",
        static_cast<double>(total) / 1e9, static_cast<double>(options_.session_bytes_max) / 1e9));
  }
  claimed_bytes_ = total;
  seat.bytes = bytes;
}

void Scheduler::forget(Seat& seat) {
  const std::lock_guard lock(mutex_);
  claimed_bytes_ -= seat.bytes;
  std::erase(admitted_, &seat);
  if (decoded_alone_ == &seat) decoded_alone_ = nullptr;
  if (returning_ == &seat) returning_ = nullptr;
  if (expected_ > 0 && seat.expected_after == decode_passes_) --expected_;
}

// A place is kept from one token to the next, or a session could lose it in the middle of a reply.
void Scheduler::admit(Seat& seat) {
  if (seat.admitted) return;
  if (std::ssize(admitted_) == options_.sessions_max) {
    const auto now = Clock::now();
    const auto idle = std::ranges::find_if(admitted_, [&](const Seat* other) {
      return !other->asks && seconds(now - other->seen) > kIdleSeconds;
    });
    if (idle == admitted_.end()) {
      throw Refusal(fmt::format(
          "{} sessions are at work, and no more are allowed (sessions_max): try again when one of "
          "them is done, or allow more",
          options_.sessions_max));
    }
    (*idle)->admitted = false;
    admitted_.erase(idle);
  }
  admitted_.push_back(&seat);
  seat.admitted = true;
}

void Scheduler::enter(Job& job) {
  admit(job.seat);
  job.seat.asks = true;
  queue_.add(job);
  if (expected_ > 0 && job.seat.expected_after == decode_passes_) {
    --expected_;
    job.seat.expected_after = 0;
  }
  const bool awaited = returning_ == &job.seat;
  if (awaited) returning_ = nullptr;
  if (holding_ && (awaited || expected_ == 0 || !job.decodes())) leader_->wake.notify_one();
}

int Scheduler::Member::compute(const Request& request) {
  const bool reports = request.report != nullptr && request.report->call != nullptr &&
                       *request.report->call != nullptr;
  // For nothing else does a pass end that has begun.
  const bool may_end = request.stop.stop_possible() || reports;
  if (may_end) request.cache.capture(request.before);
  try {
    const int rows = scheduler_->compute(request, seat_);
    if (rows == 0) request.cache.go_back(request.before);
    return rows;
  } catch (...) {
    if (may_end) request.cache.go_back(request.before);
    throw;
  }
}

int Scheduler::compute(const Request& request, Seat& seat) {
  assert(!request.tokens.empty() && std::ssize(request.tokens) <= Pace::kRowsMax);
  Job job(request, seat, Clock::now());
  Lock lock(mutex_);
  enter(job);
  while (job.state != Job::State::done) {
    if (job.state == Job::State::waits && job.stopping()) {
      take_back(job);
    } else if (must_report(job)) {
      appoint();
      report(lock, job);
    } else if (leader_ == nullptr) {
      lead(lock, job);
    } else {
      wait(lock, job);
    }
  }
  appoint();
  seat.asks = false;
  seat.seen = Clock::now();
  if (job.failure) std::rethrow_exception(job.failure);
  return job.rows;
}

void Scheduler::take_back(Job& job) {
  queue_.remove(job);
  answer(job, 0);
}

void Scheduler::answer(Job& job, int rows) {
  job.rows = rows;
  job.state = Job::State::done;
  if (&job != leader_) job.wake.notify_one();
}

void Scheduler::wait(Lock& lock, Job& job) {
  job.wake.wait_for(lock, kLook,
                    [&] { return job.state == Job::State::done || leader_ == nullptr; });
}

bool Scheduler::must_report(const Job& job) const noexcept {
  const Report* report = job.request.report;
  return report != nullptr && report->call != nullptr && *report->call && !job.abandoned &&
         seconds(Clock::now() - report->last) > kReportSeconds;
}

void Scheduler::report(Lock& lock, Job& job) {
  Report& report = *job.request.report;
  const auto layers = static_cast<int>(compute_.weights.layers.size());
  const int done = job.state == Job::State::computes ? job.rows * job.layers / layers : 0;
  std::exception_ptr failure;
  lock.unlock();
  try {
    (*report.call)(report.done + done, report.total);
  } catch (...) {
    failure = std::current_exception();
  }
  report.last = Clock::now();
  lock.lock();
  if (!failure) return;
  job.failure = failure;
  job.abandoned = true;
}

// Wakes somebody to lead, best one whose prompt is long: it stays longest.
void Scheduler::appoint() {
  if (leader_ != nullptr) return;
  if (prefill_.active()) {
    prefill_.jobs().front()->wake.notify_one();
  } else if (decode_.active()) {
    decode_.jobs().front()->wake.notify_one();
  } else if (!queue_.jobs().empty()) {
    const auto& jobs = queue_.jobs();
    const auto prompt = std::ranges::find_if(jobs, [](const Job* job) { return !job->decodes(); });
    (prompt != jobs.end() ? *prompt : jobs.front())->wake.notify_one();
  }
}

void Scheduler::lead(Lock& lock, Job& job) {
  leader_ = &job;
  const auto stays = [&] {
    const bool stopped = job.state == Job::State::waits && job.stopping();
    return job.state != Job::State::done && !stopped && !must_report(job);
  };
  for (drop_stopped(); stays(); drop_stopped()) {
    Lane* lane = next_lane(lock, job);
    if (lane != nullptr && lane->active()) step(lock, *lane);
  }
  leader_ = nullptr;
}

// Of the prefill pass, or of what will be the next one; -1: there is none.
int Scheduler::prefill_rank(Clock::time_point now) const {
  if (!prefill_.active()) {
    const Job* first = queue_.first(/*decodes=*/false, now);
    return first != nullptr ? queue_.rank(*first, now) : -1;
  }
  int highest = 0;  // what waits no longer does not age
  for (const Job* job : prefill_.jobs()) {
    highest = std::max(highest, static_cast<int>(job->seat.priority));
  }
  return highest;
}

// The lane whose pass goes on now, if anybody is left in it; null if the leader has waited instead.
Lane* Scheduler::next_lane(Lock& lock, Job& leader) {
  if (decode_.active()) return &decode_;
  const auto now = Clock::now();
  const Job* decodes = queue_.first(/*decodes=*/true, now);
  const bool prefills = prefill_rank(now) >= 0;
  if (decodes != nullptr && !prefills && decode_holds(now)) {
    hold(lock, leader);
    return nullptr;
  }
  if (decodes != nullptr && (!prefills || must_decode(*decodes, now))) {
    form_decode(now);
    return &decode_;
  }
  if (!prefills) return nullptr;  // all have been stopped
  if (!prefill_.active()) {
    if (prefill_holds(now)) {
      hold(lock, leader);
      return nullptr;
    }
    form_prefill(now);
  }
  prefill_due_ = false;
  return &prefill_;
}

// Waits for a session to come.
void Scheduler::hold(Lock& lock, Job& leader) {
  holding_ = true;
  leader.wake.wait_for(lock, duration(kHoldSecondsMin));
  holding_ = false;
}

bool Scheduler::prefill_holds(Clock::time_point now) const {
  return returning_ != nullptr && static_cast<int>(returning_->priority) > prefill_rank(now) &&
         seconds(now - returned_) < kHoldSecondsMax;
}

bool Scheduler::decode_holds(Clock::time_point now) const {
  const double most = std::clamp(kHoldShare * decode_seconds_, kHoldSecondsMin, kHoldSecondsMax);
  return expected_ > 0 && seconds(now - decoded_) < most;
}

// Whether the decode pass of `first` and others goes before the next layer of prefill.
bool Scheduler::must_decode(const Job& first, Clock::time_point now) const {
  const int own = queue_.rank(first, now);
  const int other = prefill_rank(now);
  if (prefill_due_ || other > own) return false;
  if (other < own) return true;
  auto earliest = now;
  int rows = 0;
  for (const Job* job : queue_.jobs()) {
    if (!job->decodes()) continue;
    earliest = std::min(earliest, job->arrived);
    rows += static_cast<int>(job->request.tokens.size());
  }
  const double layer =
      prefill_.slowest_layer() > 0 ? prefill_.slowest_layer() : pace_.layer_seconds();
  return seconds(now - earliest) + layer > pace_.slack(rows);
}

// Those of the highest rank go whatever that takes. Others go if nobody is late for it.
void Scheduler::form_decode(Clock::time_point now) {
  int highest = -1;
  while (!decode_.full()) {
    Job* job = queue_.first(/*decodes=*/true, now);
    if (job == nullptr) return;
    const auto rows = static_cast<int>(job->request.tokens.size());
    const int together = decode_.rows() + rows;
    highest = std::max(highest, queue_.rank(*job, now));
    if (together > Pace::kDecodeRowsMax) return;
    if (queue_.rank(*job, now) < highest && !pace_.fits(together)) return;
    board(decode_, *job, rows);
  }
}

void Scheduler::form_prefill(Clock::time_point now) {
  int room = 0;
  while (!prefill_.full()) {
    Job* job = queue_.first(/*decodes=*/false, now);
    if (job == nullptr) return;
    if (!prefill_.active()) {
      prefill_turns_ = decoding_beside(job->seat, now) ? Turns::beside : Turns::alone;
      room = pace_.prefill_rows(prefill_turns_ == Turns::beside);
    }
    const auto rows = static_cast<int>(job->request.tokens.size());
    // A few tokens less of a pass cost nothing, but few tokens more cost a pass.
    if (room < std::min(rows, Pace::kRowsMin)) return;
    board(prefill_, *job, std::min(rows, room));
    room -= std::min(rows, room);
  }
}

void Scheduler::board(Lane& lane, Job& job, int rows) {
  queue_.remove(job);
  job.state = Job::State::computes;
  job.layers = 0;
  lane.add(job, rows);
}

bool Scheduler::decoding_beside(const Seat& seat, Clock::time_point now) const {
  if (expected_ > 0 || queue_.first(/*decodes=*/true, now) != nullptr) return true;
  const double recent = std::max(kRecentSeconds, kRecentTokens * pace_.alone_seconds());
  return decode_passes_ > 0 && decoded_alone_ != &seat && seconds(now - decoded_) < recent;
}

// A layer of the pass, unless somebody else has the cores or waits for them.
void Scheduler::step(Lock& lock, Lane& lane) {
  if (busy_ || guests_ > 0) {
    free_.wait_for(lock, kLook);
    return;
  }
  busy_ = true;
  if (&lane == &prefill_) decode_turns_ = Turns::beside;
  lock.unlock();
  bool through = false;
  bool short_of_memory = false;
  std::exception_ptr failure;
  try {
    through = lane.run_layer();
  } catch (const std::bad_alloc&) {
    short_of_memory = true;
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  busy_ = false;
  if (guests_ > 0) free_.notify_all();
  for (Job* job : lane.jobs()) job->layers = lane.layers_done();
  if (short_of_memory) make_smaller(lane);
  if (failure) fail(lane, failure);
  if (through) complete(lane);
  drop_finished(lane);
}

void Scheduler::drop_stopped() {
  for (Lane* lane : {&decode_, &prefill_}) {
    for (int i = static_cast<int>(lane->jobs().size()) - 1; i >= 0; --i) {
      Job& job = *lane->jobs()[static_cast<std::size_t>(i)];
      if (!job.stopping()) continue;
      lane->remove(i);
      answer(job, 0);
    }
  }
}

// Jobs that wanted no more layers than are done leave the pass, their rows are in place.
void Scheduler::drop_finished(Lane& lane) {
  for (int i = static_cast<int>(lane.jobs().size()) - 1; i >= 0; --i) {
    Job& job = *lane.jobs()[static_cast<std::size_t>(i)];
    if (job.layers == 0 || job.layers != job.request.layers) continue;
    KvCache& cache = job.request.cache;
    cache.set_length(cache.length() + job.rows);
    lane.remove(i);
    answer(job, job.rows);
  }
}

// There is no memory for this pass: a smaller one is tried, of its first session alone.
void Scheduler::make_smaller(Lane& lane) {
  if (lane.jobs().size() == 1) {
    Job& job = *lane.jobs().front();
    lane.clear();
    job.failure = std::make_exception_ptr(std::bad_alloc());
    answer(job, 0);
    return;
  }
  while (lane.jobs().size() > 1) {
    Job& job = *lane.jobs().back();
    lane.remove(static_cast<int>(lane.jobs().size()) - 1);
    job.state = Job::State::waits;
    queue_.add(job);
  }
}

// The pass left no cache in a state to go on from.
void Scheduler::fail(Lane& lane, const std::exception_ptr& failure) {
  for (Job* job : lane.jobs()) {
    job->failure = failure;
    answer(*job, 0);
  }
  lane.clear();
}

void Scheduler::complete(Lane& lane) {
  const auto count = static_cast<int>(lane.jobs().size());
  if (&lane == &prefill_) {
    pace_.prefilled(lane.rows(), lane.slowest_layer(), prefill_turns_);
    returned_ = Clock::now();
    for (const Job* job : lane.jobs()) {
      if (!job->request.goes_on && job->rows == std::ssize(job->request.tokens)) continue;
      if (returning_ == nullptr || returning_->priority < job->seat.priority) {
        returning_ = &job->seat;
      }
    }
  } else {
    decode_seconds_ = lane.seconds();
    pace_.decoded(lane.rows(), decode_seconds_, decode_turns_);
    decode_turns_ = Turns::alone;
    decoded_ = Clock::now();
    ++decode_passes_;
    expected_ = count;
    decoded_alone_ = count == 1 ? &lane.jobs().front()->seat : nullptr;
    for (Job* job : lane.jobs()) job->seat.expected_after = decode_passes_;
    prefill_due_ = true;
  }
  for (Job* job : lane.jobs()) answer(*job, job->rows);
  lane.clear();
}

}  // namespace fathom::engine
