// Numbers what happens, makes it durable, then shows it: what anybody has seen is never lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "agent/events.h"
#include "memory/store.h"

namespace fathom::agent {

// What becomes durable together with an event.
struct Attached {
  std::optional<memory::TokensRecord> tokens = {};
  std::optional<memory::OutcomeRecord> outcome = {};
  std::string title = {};
};

// A turn's thread writes; any thread may abandon. After a result nothing follows it until open().
class Journal {
 public:
  // `store` and `sink` outlive the journal.
  Journal(memory::Store& store, std::string conversation, std::int64_t next_n, EventSink& sink);

  // A turn begins: events may follow again.
  void open();

  // Commits the event, then hands it to the sink. Throws memory::Error if it cannot be stored; it
  // is then not shown either. Does nothing after the result.
  void write(std::string type, nlohmann::ordered_json fields, const Attached& attached = {});

  // As write(), but shows the event also when the store fails: for errors and results, which must
  // reach somebody. result() ends the turn.
  void error(nlohmann::ordered_json fields) noexcept;
  void result(nlohmann::ordered_json fields) noexcept;

  // Keeps the result that abandon() would write.
  void prepare(nlohmann::ordered_json result);

  // Writes the prepared result with this end, from any thread, unless there is one already. Gives
  // up after half a second if the turn's thread hangs inside the sink.
  void abandon(std::string_view status, int exit) noexcept;

  void show(const Delta& delta);
  void show(Live live);  // sets since_ms at each change of phase

  std::int64_t milliseconds() const noexcept;  // since the journal was made

 private:
  enum class IfStoreFails { give_up, show_anyway };
  void put(std::string type, nlohmann::ordered_json fields, const Attached& attached,
           IfStoreFails otherwise);

  memory::Store& store_;
  const std::string conversation_;
  EventSink& sink_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  std::timed_mutex mutex_;  // guards what follows
  std::int64_t next_n_;
  bool open_ = false;
  nlohmann::ordered_json prepared_;
  std::string phase_;
  std::int64_t phase_began_ms_ = 0;
};

}  // namespace fathom::agent
