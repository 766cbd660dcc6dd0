// Scheduler: continuous batching. Sessions ask from threads of their own; their tokens are computed
// together.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/scheduling.h"
#include "engine/scheduling/job.h"
#include "engine/scheduling/lane.h"
#include "engine/scheduling/pace.h"
#include "engine/scheduling/queue.h"

namespace fathom::engine {

// Whoever finds nobody leading leads: forms passes of what waits, runs them, and goes when its own
// tokens are done; then another of those who wait leads. There is no thread besides, so a session
// that is alone computes on its own thread and waits for nobody.
//
// Two passes can be under way. The decode pass carries the rows of all sessions that want a few
// tokens; once begun it runs to its end. The prefill pass carries pieces of long prompts; it pauses
// between layers as pace.h says. Among those who wait the highest priority goes first, then who
// came first; waiting raises the priority. After a decode pass its sessions are expected back with
// their next tokens, and if there is nothing else to do, the next pass is held for them for a
// moment: otherwise the first one back would leave alone, and weights would be read twice for one
// token of everybody. In the same way a prompt's next piece is waited for before one of lower
// priority goes.
class Scheduler {
 public:
  // The arguments outlive it.
  Scheduler(const Compute& compute, const SchedulingOptions& options);

  // A session's place here, of which a copy is another's.
  class Member {
   public:
    explicit Member(Scheduler& scheduler) : scheduler_(&scheduler) {}
    Member(const Member& other) : scheduler_(other.scheduler_) {
      seat_.priority = other.seat_.priority;
    }
    Member& operator=(const Member&) = delete;
    ~Member() { scheduler_->forget(seat_); }

    void set_priority(Priority priority) noexcept { seat_.priority = priority; }

    // Computes the first tokens of the request, as many as a pass takes; at most
    // Job::kDecodeTokens are computed whole. Returns how many, or 0 if it was stopped. Throws Error
    // if too many sessions are at work, std::bad_alloc if memory is short, and what a report
    // throws; the cache is then as before. Reports are made on the calling thread and may take
    // their time.
    int compute(const Request& request);

    // The session's state will take so many bytes. Throws Error if that is beyond the limit.
    void claim(std::int64_t bytes) { scheduler_->claim(seat_, bytes); }

   private:
    Scheduler* scheduler_;
    Seat seat_;
  };

  // The cores for something else, as by std::lock_guard: passes pause at their next layer.
  void lock();
  void unlock();

  std::int64_t bytes() const;  // of the passes' memory

 private:
  using Clock = Report::Clock;
  using Turns = Pace::Turns;

  int compute(const Request& request, Seat& seat);
  void claim(Seat& seat, std::int64_t bytes);
  void forget(Seat& seat);

  // All that follow are called with mutex_ held; those that take `lock` let go of it meanwhile.
  using Lock = std::unique_lock<std::mutex>;
  void admit(Seat& seat);
  void enter(Job& job);
  void lead(Lock& lock, Job& job);
  void wait(Lock& lock, Job& job);
  void report(Lock& lock, Job& job);
  bool must_report(const Job& job) const noexcept;
  void appoint();
  void take_back(Job& job);

  Lane* next_lane(Lock& lock, Job& leader);
  bool must_decode(const Job& first, Clock::time_point now) const;
  int prefill_rank(Clock::time_point now) const;
  bool decode_holds(Clock::time_point now) const;
  bool prefill_holds(Clock::time_point now) const;
  bool decoding_beside(const Seat& seat, Clock::time_point now) const;
  void form_decode(Clock::time_point now);
  void form_prefill(Clock::time_point now);
  void hold(Lock& lock, Job& leader);
  void board(Lane& lane, Job& job, int rows);

  void step(Lock& lock, Lane& lane);
  void drop_stopped();
  void drop_finished(Lane& lane);
  void make_smaller(Lane& lane);
  void fail(Lane& lane, const std::exception_ptr& failure);
  void complete(Lane& lane);
  void answer(Job& job, int rows);

  const Compute compute_;
  const SchedulingOptions options_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable free_;
  bool busy_ = false;  // somebody computes: the backend and the lanes' memory are theirs
  int guests_ = 0;     // who wait in lock(), or have the cores by it
  Job* leader_ = nullptr;
  bool holding_ = false;  // the leader waits for sessions to come back
  Queue queue_;
  std::vector<Seat*> admitted_;
  Lane decode_, prefill_;
  Pace pace_;
  Turns prefill_turns_ = Turns::alone;  // of the prefill pass, from its start
  Turns decode_turns_ = Turns::alone;   // of the next decode pass, as far as known
  bool prefill_due_ = false;            // a layer of it, before the next decode pass
  std::uint64_t decode_passes_ = 0;
  int expected_ = 0;                     // sessions of the last decode pass that are not back yet
  Clock::time_point decoded_{};          // its end
  double decode_seconds_ = 0;            // what it took
  const Seat* decoded_alone_ = nullptr;  // whose it was, if one session's
  const Seat* returning_ = nullptr;      // whose prompt goes on, if it is not back yet
  Clock::time_point returned_{};         // when it got its last answer
  std::int64_t claimed_bytes_ = 0;
};

}  // namespace fathom::engine
