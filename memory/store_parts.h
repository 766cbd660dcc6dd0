// The insides of Store, for the files that hold its functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "memory/schema.h"
#include "memory/sqlite.h"
#include "memory/store.h"

namespace fathom::memory {

struct Store::Parts {
  explicit Parts(Database opened) : database(std::move(opened)) {}

  mutable std::mutex mutex;
  mutable Database database;  // guarded by mutex
};

inline std::int64_t now_ms() {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::system_clock;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace fathom::memory
