// Copies a conversation up to a step, and goes back to one.
#include <cassert>

#include <fmt/format.h>

#include "memory/error.h"
#include "memory/store_parts.h"
#include "memory/ulid.h"

namespace fathom::memory {
namespace {

// What of a conversation lies before a cut.
struct Cut {
  std::int64_t events = 0;  // those with n below it
  std::int64_t piece = 0;   // pieces up to it
  StepId at;                // outcomes up to it
};

constexpr std::int64_t kAll = INT64_MAX;

std::int64_t first_integer(Statement& statement) {
  return statement.step() ? statement.integer(0) : 0;
}

Cut whole() {
  return {.events = kAll, .piece = kAll, .at = {.turn = INT32_MAX, .step = INT32_MAX}};
}

// Throws Error if the conversation has no such step.
Cut cut_at(Database& database, std::string_view id, StepId at) {
  Statement piece(database,
                  "SELECT CASE WHEN ?2 > 0 THEN max(piece) ELSE min(piece) END FROM tokens "
                  "WHERE conversation = ?1 AND turn = ?2 AND step = ?3 AND sampled = (?2 > 0)");
  piece.bind(1, id).bind(2, std::int64_t{at.turn}).bind(3, std::int64_t{at.step});
  Cut cut{.piece = first_integer(piece), .at = at};
  if (cut.piece == 0) {
    throw Error(
        fmt::format("conversation {} has no step {}.{}: fathom conversation show {} lists "
                    "its steps",
                    id, at.turn, at.step, id));
  }
  // Step 0.0 is the system text: what lies before the first message.
  Statement event(database, at.turn == 0
                                ? "SELECT min(n) FROM event WHERE conversation = ?1 AND "
                                  "type = 'turn' AND ?2 + ?3 = 0"
                                : "SELECT max(n) + 1 FROM event WHERE conversation = ?1 AND "
                                  "json_extract(json, '$.turn') = ?2 AND "
                                  "json_extract(json, '$.step') = ?3");
  event.bind(1, id).bind(2, std::int64_t{at.turn}).bind(3, std::int64_t{at.step});
  cut.events = first_integer(event);
  return cut;
}

void copy(Database& database, std::string_view from, std::string_view to, const Cut& cut,
          std::int64_t now) {
  Statement(database,
            "INSERT INTO conversation (id, title, workspace, model, fingerprint, vocabulary, "
            "status, created_ms, updated_ms, events, turns, steps) "
            "SELECT ?2, title, workspace, model, fingerprint, vocabulary, "
            "CASE WHEN ?3 > events THEN status ELSE '' END, ?4, ?4, "
            "(SELECT count(*) FROM event WHERE conversation = ?1 AND n < ?3), "
            "(SELECT count(*) FROM event WHERE conversation = ?1 AND n < ?3 AND type = 'turn'), "
            "(SELECT count(*) FROM event WHERE conversation = ?1 AND n < ?3 AND type = 'step') "
            "FROM conversation WHERE id = ?1")
      .bind(1, from)
      .bind(2, to)
      .bind(3, cut.events)
      .bind(4, now)
      .run();
  Statement(database,
            "INSERT INTO event (conversation, n, t, type, json) "
            "SELECT ?2, n, t, type, json FROM event WHERE conversation = ?1 AND n < ?3")
      .bind(1, from)
      .bind(2, to)
      .bind(3, cut.events)
      .run();
  Statement(database,
            "INSERT INTO tokens (conversation, turn, step, sampled, calls, ids) "
            "SELECT ?2, turn, step, sampled, calls, ids FROM tokens "
            "WHERE conversation = ?1 AND piece <= ?3 ORDER BY piece")
      .bind(1, from)
      .bind(2, to)
      .bind(3, cut.piece)
      .run();
  Statement(database,
            "INSERT INTO outcome (conversation, turn, step, call, text, whole) "
            "SELECT ?2, turn, step, call, text, whole FROM outcome "
            "WHERE conversation = ?1 AND (turn, step) <= (?3, ?4)")
      .bind(1, from)
      .bind(2, to)
      .bind(3, std::int64_t{cut.at.turn})
      .bind(4, std::int64_t{cut.at.step})
      .run();
}

// Says in the stream of events where it was cut or copied.
void note(Database& database, std::string_view id, std::string_view kind, std::string_view text,
          std::string_view fields) {
  Statement(database,
            "INSERT INTO event (conversation, n, t, type, json) SELECT ?1, events, 0, 'note', "
            "'{\"v\":1,\"n\":' || events || ?2 FROM conversation WHERE id = ?1")
      .bind(1, id)
      .bind(2, fmt::format(",\"t\":0,\"type\":\"note\",\"kind\":\"{}\",\"text\":\"{}\","
                           "\"data\":{{{}}}}}",
                           kind, text, fields))
      .run();
  Statement(database, "UPDATE conversation SET events = events + 1, updated_ms = ? WHERE id = ?")
      .bind(1, now_ms())
      .bind(2, id)
      .run();
}

void must_exist(Database& database, std::string_view id) {
  Statement statement(database, "SELECT 1 FROM conversation WHERE id = ?");
  statement.bind(1, id);
  if (!statement.step()) throw Error(fmt::format("there is no conversation {}", id));
}

}  // namespace

std::string Store::fork(std::string_view id, std::optional<StepId> at) {
  const std::lock_guard lock(parts_->mutex);
  Database& database = parts_->database;
  Transaction transaction(database);
  must_exist(database, id);
  const std::int64_t now = now_ms();
  const std::string child = make_ulid(now);
  copy(database, id, child, at ? cut_at(database, id, *at) : whole(), now);
  note(database, child, "fork",
       at ? fmt::format("Forked from {} after step {}.{}.", id, at->turn, at->step)
          : fmt::format("Forked from {}.", id),
       fmt::format("\"from\":\"{}\"", id));
  transaction.commit();
  return child;
}

std::string Store::rewind(std::string_view id, StepId at) {
  const std::lock_guard lock(parts_->mutex);
  Database& database = parts_->database;
  Transaction transaction(database);
  must_exist(database, id);
  const Cut cut = cut_at(database, id, at);
  const std::int64_t now = now_ms();
  const std::string branch = make_ulid(now);
  copy(database, id, branch, whole(), now);
  Statement(database, "DELETE FROM tokens WHERE conversation = ? AND piece > ?")
      .bind(1, id)
      .bind(2, cut.piece)
      .run();
  Statement(database, "DELETE FROM outcome WHERE conversation = ? AND (turn, step) > (?, ?)")
      .bind(1, id)
      .bind(2, std::int64_t{at.turn})
      .bind(3, std::int64_t{at.step})
      .run();
  note(database, id, "rewind",
       fmt::format("Back after step {}.{}. What followed is kept as {}.", at.turn, at.step, branch),
       fmt::format("\"turn\":{},\"step\":{},\"branch\":\"{}\"", at.turn, at.step, branch));
  transaction.commit();
  return branch;
}

}  // namespace fathom::memory
