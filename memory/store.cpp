// Conversations in SQLite: what is appended, and how it is read back.
#include "memory/store.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "memory/error.h"
#include "memory/store_parts.h"
#include "memory/ulid.h"

namespace fathom::memory {
namespace {

constexpr std::string_view kConversationColumns =
    "id, title, workspace, model, fingerprint, vocabulary, status, created_ms, updated_ms, "
    "events, turns, steps";

ConversationRecord conversation_of(const Statement& record) {
  return {.id = record.text(0),
          .title = record.text(1),
          .workspace = record.text(2),
          .model = record.text(3),
          .fingerprint = record.text(4),
          .vocabulary = record.text(5),
          .status = record.text(6),
          .created_ms = record.integer(7),
          .updated_ms = record.integer(8),
          .events = record.integer(9),
          .turns = static_cast<int>(record.integer(10)),
          .steps = static_cast<int>(record.integer(11))};
}

std::span<const std::byte> bytes_of(const std::vector<std::int32_t>& ids) {
  return std::as_bytes(std::span(ids));  // every machine this runs on is little-endian
}

std::vector<std::int32_t> ids_of(std::span<const std::byte> bytes) {
  std::vector<std::int32_t> ids(bytes.size() / sizeof(std::int32_t));
  if (!ids.empty()) std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(std::int32_t));
  return ids;
}

// Counts the event in its conversation. False if entry.event.n is not the next number.
bool count_event(Database& database, std::string_view id, const Entry& entry) {
  Statement statement(database,
                      "UPDATE conversation SET events = events + 1, turns = turns + (?3 = 'turn'), "
                      "steps = steps + (?3 = 'step'), updated_ms = ?4, "
                      "title = CASE WHEN ?5 <> '' THEN ?5 ELSE title END, "
                      "status = CASE WHEN ?6 <> '' THEN ?6 ELSE status END "
                      "WHERE id = ?1 AND events = ?2 RETURNING 1");
  statement.bind(1, id).bind(2, entry.event.n).bind(3, entry.event.type).bind(4, now_ms());
  statement.bind(5, entry.title).bind(6, entry.status);
  return statement.step();
}

void insert_event(Database& database, std::string_view id, const EventRecord& event) {
  Statement(database, "INSERT INTO event (conversation, n, t, type, json) VALUES (?, ?, ?, ?, ?)")
      .bind(1, id)
      .bind(2, event.n)
      .bind(3, event.t)
      .bind(4, event.type)
      .bind(5, event.json)
      .run();
}

void insert_tokens(Database& database, std::string_view id, const TokensRecord& tokens) {
  Statement(database,
            "INSERT INTO tokens (conversation, turn, step, sampled, calls, ids) "
            "VALUES (?, ?, ?, ?, ?, ?)")
      .bind(1, id)
      .bind(2, std::int64_t{tokens.turn})
      .bind(3, std::int64_t{tokens.step})
      .bind(4, std::int64_t{tokens.source == TokensRecord::Source::sampled})
      .bind(5, std::int64_t{tokens.calls})
      .bind(6, bytes_of(tokens.tokens))
      .run();
}

void insert_outcome(Database& database, std::string_view id, const OutcomeRecord& outcome) {
  Statement(database,
            "INSERT INTO outcome (conversation, turn, step, call, text, whole) "
            "VALUES (?, ?, ?, ?, ?, ?)")
      .bind(1, id)
      .bind(2, std::int64_t{outcome.turn})
      .bind(3, std::int64_t{outcome.step})
      .bind(4, std::int64_t{outcome.call})
      .bind(5, outcome.text)
      .bind(6, outcome.full)
      .run();
}

// Empty if there is none. Throws Error if there are several.
std::string id_that_begins(Database& database, std::string_view beginning) {
  std::string upper(beginning);
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  Statement statement(database,
                      "SELECT id FROM conversation WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2");
  statement.bind(1, upper);
  if (beginning.empty() || !statement.step()) return {};
  std::string id = statement.text(0);
  if (statement.step()) {
    throw Error(
        fmt::format("several conversations begin with \"{}\": give more of the id", beginning));
  }
  return id;
}

}  // namespace

std::filesystem::path Store::default_path() {
  const char* data = std::getenv("XDG_DATA_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (data != nullptr && *data == '/') {
    folder = data;
  } else if (home != nullptr && *home != '\0') {
    folder = std::filesystem::path(home) / ".local" / "share";
  } else {
    throw Error("neither XDG_DATA_HOME nor HOME is set: name the database with --store");
  }
  return folder / "fathom" / "memory.sqlite";
}

Store::Store(const std::filesystem::path& file)
    : parts_(std::make_unique<Parts>(Database(file.string()))) {
  migrate(parts_->database);
}
Store::Store(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Store Store::in_memory() {
  Store store(std::make_unique<Parts>(Database(":memory:")));
  migrate(store.parts_->database);
  return store;
}

Store Store::reader(const std::filesystem::path& file) {
  Store store(std::make_unique<Parts>(Database::reading(file)));
  check_made(store.parts_->database);
  return store;
}

std::string Store::create(const NewConversation& conversation) {
  const std::lock_guard lock(parts_->mutex);
  const std::int64_t now = now_ms();
  const std::string id = make_ulid(now);
  Statement(parts_->database,
            "INSERT INTO conversation (id, workspace, model, fingerprint, vocabulary, created_ms, "
            "updated_ms, cause) VALUES (?, ?, ?, ?, ?, ?6, ?6, ?7)")
      .bind(1, id)
      .bind(2, conversation.workspace)
      .bind(3, conversation.model)
      .bind(4, conversation.fingerprint)
      .bind(5, conversation.vocabulary)
      .bind(6, now)
      .bind(7, conversation.cause)
      .run();
  return id;
}

void Store::append(std::string_view id, const Entry& entry) {
  const std::lock_guard lock(parts_->mutex);
  Database& database = parts_->database;
  Transaction transaction(database);
  if (!count_event(database, id, entry)) {
    throw Error(
        fmt::format("{}: event {} does not follow the last one of conversation {}: "
                    "another process has continued it",
                    database.file(), entry.event.n, id));
  }
  insert_event(database, id, entry.event);
  if (entry.tokens) insert_tokens(database, id, *entry.tokens);
  if (entry.outcome) insert_outcome(database, id, *entry.outcome);
  transaction.commit();
}

void Store::rename(std::string_view id, std::string_view title) {
  const std::lock_guard lock(parts_->mutex);
  Statement(parts_->database, "UPDATE conversation SET title = ? WHERE id = ?")
      .bind(1, title)
      .bind(2, id)
      .run();
}

std::vector<ConversationRecord> Store::list(int limit, std::string_view workspace) const {
  const std::lock_guard lock(parts_->mutex);
  Statement statement(parts_->database,
                      fmt::format("SELECT {} FROM conversation WHERE ?1 = '' OR workspace = ?1 "
                                  "ORDER BY updated_ms DESC, id DESC LIMIT ?2",
                                  kConversationColumns));
  statement.bind(1, workspace).bind(2, std::int64_t{limit});
  std::vector<ConversationRecord> records;
  while (statement.step()) records.push_back(conversation_of(statement));
  return records;
}

std::optional<ConversationRecord> Store::conversation(std::string_view id) const {
  const std::lock_guard lock(parts_->mutex);
  Statement statement(parts_->database, fmt::format("SELECT {} FROM conversation WHERE id = ?",
                                                    kConversationColumns));
  statement.bind(1, id);
  if (!statement.step()) return std::nullopt;
  return conversation_of(statement);
}

std::optional<std::string> Store::made_by(std::string_view cause) const {
  const std::lock_guard lock(parts_->mutex);
  Statement statement(parts_->database,
                      "SELECT id FROM conversation WHERE cause = ? AND cause <> ''");
  statement.bind(1, cause);
  if (!statement.step()) return std::nullopt;
  return statement.text(0);
}

std::string Store::find(std::string_view beginning) const {
  const std::lock_guard lock(parts_->mutex);
  std::string id = id_that_begins(parts_->database, beginning);
  if (!id.empty()) return id;
  throw Error(
      fmt::format("there is no conversation \"{}\" in {}", beginning, parts_->database.file()));
}

std::string Store::find_or_search(std::string_view words, std::string_view workspace) const {
  const std::lock_guard lock(parts_->mutex);
  if (std::string id = id_that_begins(parts_->database, words); !id.empty()) return id;
  Statement statement(parts_->database,
                      "SELECT id FROM conversation WHERE workspace = ?2 AND EXISTS ("
                      "SELECT 1 FROM event WHERE conversation = id AND type = 'turn' AND "
                      "instr(lower(json_extract(json, '$.text')), lower(?1)) > 0) "
                      "ORDER BY updated_ms DESC, id DESC LIMIT 1");
  statement.bind(1, words).bind(2, workspace);
  if (!words.empty() && statement.step()) return statement.text(0);
  throw Error(
      fmt::format("there is no conversation \"{}\" in {}, and none of {} has a message with these "
                  "words",
                  words, parts_->database.file(), workspace));
}

std::vector<EventRecord> Store::events(std::string_view id, std::int64_t from_n, int limit) const {
  const std::lock_guard lock(parts_->mutex);
  Statement statement(parts_->database,
                      "SELECT n, t, type, json FROM event WHERE conversation = ? AND n >= ? "
                      "ORDER BY n LIMIT ?");
  statement.bind(1, id).bind(2, from_n).bind(3, std::int64_t{limit});
  std::vector<EventRecord> records;
  while (statement.step()) {
    records.push_back({.n = statement.integer(0),
                       .t = statement.integer(1),
                       .type = statement.text(2),
                       .json = statement.text(3)});
  }
  return records;
}

std::vector<TokensRecord> Store::tokens(std::string_view id) const {
  const std::lock_guard lock(parts_->mutex);
  Statement statement(parts_->database,
                      "SELECT turn, step, sampled, calls, ids FROM tokens WHERE conversation = ? "
                      "ORDER BY piece");
  statement.bind(1, id);
  std::vector<TokensRecord> records;
  while (statement.step()) {
    records.push_back({.turn = static_cast<int>(statement.integer(0)),
                       .step = static_cast<int>(statement.integer(1)),
                       .source = statement.integer(2) != 0 ? TokensRecord::Source::sampled
                                                           : TokensRecord::Source::rendered,
                       .tokens = ids_of(statement.blob(4)),
                       .calls = static_cast<int>(statement.integer(3))});
  }
  return records;
}

std::vector<OutcomeRecord> Store::outcomes(std::string_view id) const {
  const std::lock_guard lock(parts_->mutex);
  Statement statement(parts_->database,
                      "SELECT turn, step, call, text, whole FROM outcome WHERE conversation = ? "
                      "ORDER BY turn, step, call");
  statement.bind(1, id);
  std::vector<OutcomeRecord> records;
  while (statement.step()) {
    records.push_back({.turn = static_cast<int>(statement.integer(0)),
                       .step = static_cast<int>(statement.integer(1)),
                       .call = static_cast<int>(statement.integer(2)),
                       .text = statement.text(3),
                       .full = statement.text(4)});
  }
  return records;
}

}  // namespace fathom::memory
