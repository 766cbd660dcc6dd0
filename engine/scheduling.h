// How the sessions of one engine share its cores: priorities and limits.
#pragma once

#include <cstdint>

#include "engine/error.h"

namespace fathom::engine {

// Whose work goes first: nobody waits for it; a part of an answer is worked out aside; somebody
// waits for the answer.
enum class Priority { batch, helper, interactive };

// A session asked for more than the limits below allow. It is as it was before.
class Refusal : public Error {
 public:
  using Error::Error;
};

struct SchedulingOptions {
  // A token of a decoding session takes at most so many times what it takes while nobody prefills.
  // At least one layer of prefill runs between two passes of decoding, even if that is longer.
  double delay_factor = 2;
  // Waiting so long counts as much as the next higher priority, so that nobody waits for ever.
  double patience_s = 2;
  // Sessions at work at the same time: computing, waiting, or on their way from one token to the
  // next. Others are refused with a Refusal.
  int sessions_max = 64;
  // Bytes that the states of all sessions may take together, pages that forks share counted for
  // each of them; 0: no limit. A session that would go beyond is refused with a Refusal.
  std::int64_t session_bytes_max = 0;
};

}  // namespace fathom::engine
