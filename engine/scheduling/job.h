// What a session asks of the scheduler, and how far it has come.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <stop_token>

#include "engine/cache/kv_cache.h"
#include "engine/scheduling.h"

namespace fathom::engine {

// A long computation that tells its caller how far it is.
struct Report {
  using Clock = std::chrono::steady_clock;

  const std::function<void(int done, int total)>* call = nullptr;  // null or empty: nobody asks
  int done = 0;
  int total = 0;
  Clock::time_point last = Clock::now();
};

// Tokens that one session wants computed.
struct Request {
  KvCache& cache;  // reserved for its length and all tokens
  std::span<const Token> tokens;
  Snapshot& before;  // memory for the cache's state, to which a stop returns it
  // Where the logits [logit_rows, vocab_size] of the last so many tokens go.
  float* logits = nullptr;
  int logit_rows = 0;
  // Where the streams [stream_rows, hc_mult · hidden_size] of the last so many tokens go.
  float* streams = nullptr;
  int stream_rows = 0;
  bool goes_on = false;  // the session is back with further tokens at once
  // Only the first so many layers, then without logits and streams; 0: all of them.
  int layers = 0;
  Report* report = nullptr;
  std::stop_token stop = {};
};

// What the scheduler knows of a session from one request to the next.
struct Seat {
  Priority priority = Priority::interactive;
  std::int64_t bytes = 0;               // claimed for its state
  std::uint64_t expected_after = 0;     // the decode pass after which it is expected back; 0: none
  bool admitted = false;                // counts as one of sessions_max
  bool asks = false;                    // has a request now
  Report::Clock::time_point seen = {};  // the end of its last request
};

// A request until it is answered.
struct Job {
  enum class State { waits, computes, done };

  Job(const Request& asked, Seat& who, Report::Clock::time_point when)
      : request(asked), seat(who), arrived(when) {}

  const Request& request;
  Seat& seat;
  const Report::Clock::time_point arrived;
  std::atomic<bool> abandoned = false;  // as if stopped, by a report that threw

  // Guarded by the scheduler's mutex.
  State state = State::waits;
  int rows = 0;    // of the pass; in the end, how many were computed
  int layers = 0;  // of the pass, that are done
  std::exception_ptr failure;
  std::condition_variable wake;

  // Requests of so few tokens are computed whole and at once, with those of all other sessions: the
  // next token, drafts behind it, the last tokens of a prompt.
  static constexpr int kDecodeTokens = 8;
  bool decodes() const noexcept { return request.tokens.size() <= kDecodeTokens; }
  bool stopping() const noexcept { return abandoned || request.stop.stop_requested(); }
};

}  // namespace fathom::engine
