// Numbers what happens, makes it durable, then shows it.
#include "agent/journal.h"

#include <exception>
#include <utility>

namespace fathom::agent {
namespace {

// Invalid UTF-8 cannot become JSON. Every text here was checked where it came in, but a result
// must be written whatever was overlooked.
std::string line_of(const Event& event) {
  return event.json().dump(-1, ' ', /*ensure_ascii=*/false,
                           nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

Journal::Journal(memory::Store& store, std::string conversation, std::int64_t next_n,
                 EventSink& sink)
    : store_(store), conversation_(std::move(conversation)), sink_(sink), next_n_(next_n) {}

std::int64_t Journal::milliseconds() const noexcept {
  using std::chrono::duration_cast, std::chrono::milliseconds, std::chrono::steady_clock;
  return duration_cast<std::chrono::milliseconds>(steady_clock::now() - start_).count();
}

void Journal::open() {
  const std::lock_guard lock(mutex_);
  open_ = true;
  prepared_ = nullptr;
}

void Journal::put(std::string type, nlohmann::ordered_json fields, const Attached& attached,
                  IfStoreFails otherwise) {
  if (!open_) return;
  const Event event{
      .n = next_n_, .t = milliseconds(), .type = std::move(type), .fields = std::move(fields)};
  memory::Entry entry{
      .event = {.n = event.n, .t = event.t, .type = event.type, .json = line_of(event)},
      .tokens = attached.tokens,
      .outcome = attached.outcome,
      .title = attached.title,
      .status = event.type == "result" ? event.fields.value("status", "") : ""};
  try {
    store_.append(conversation_, entry);
  } catch (const std::exception&) {
    if (otherwise == IfStoreFails::give_up) throw;
  }
  ++next_n_;
  sink_.event(event);
}

void Journal::write(std::string type, nlohmann::ordered_json fields, const Attached& attached) {
  const std::lock_guard lock(mutex_);
  put(std::move(type), std::move(fields), attached, IfStoreFails::give_up);
}

void Journal::error(nlohmann::ordered_json fields) noexcept {
  const std::lock_guard lock(mutex_);
  put("error", std::move(fields), {}, IfStoreFails::show_anyway);
}

void Journal::result(nlohmann::ordered_json fields) noexcept {
  const std::lock_guard lock(mutex_);
  put("result", std::move(fields), {}, IfStoreFails::show_anyway);
  open_ = false;
}

void Journal::prepare(nlohmann::ordered_json result) {
  const std::lock_guard lock(mutex_);
  prepared_ = std::move(result);
}

void Journal::abandon(std::string_view status, int exit) noexcept {
  // By the system's clock: ThreadSanitizer of g++ 12 knows no other timed lock.
  const auto until = std::chrono::system_clock::now() + std::chrono::milliseconds(500);
  const std::unique_lock lock(mutex_, until);
  if (!lock.owns_lock() || !open_ || prepared_.is_null()) return;
  prepared_["status"] = status;
  prepared_["exit"] = exit;
  prepared_["seconds"] = static_cast<double>(milliseconds()) / 1000;
  put("result", std::move(prepared_), {}, IfStoreFails::show_anyway);
  open_ = false;
}

void Journal::show(const Delta& delta) {
  const std::lock_guard lock(mutex_);
  if (open_) sink_.delta(delta);
}

void Journal::show(Live live) {
  const std::lock_guard lock(mutex_);
  if (!open_) return;
  if (live.phase != phase_) phase_began_ms_ = milliseconds();
  phase_ = live.phase;
  live.since_ms = phase_began_ms_;
  sink_.live(live);
}

}  // namespace fathom::agent
