// Brings a database to the schema of this program.
#include <string_view>

#include <sqlite3.h>

#include <fmt/format.h>

#include "memory/error.h"
#include "memory/schema.h"
#include "memory/sqlite.h"

namespace fathom::memory {
namespace {

constexpr std::int64_t kVersion = 2;

// From version 1: a conversation keeps which command made it.
constexpr std::string_view kToVersion2 =
    "ALTER TABLE conversation ADD COLUMN cause TEXT NOT NULL DEFAULT '';"
    "CREATE UNIQUE INDEX conversation_by_cause ON conversation (cause) WHERE cause <> ''";

// "Fthm": tells our databases from those of other programs, as file(1) does.
constexpr std::int64_t kApplicationId = 0x4674686d;

// Throws unless the file is empty or a database of ours that this program knows. Call it inside a
// transaction: the three answers are only one truth at one moment, and another process may be
// making the schema.
void check_ours(Database& database) {
  const std::int64_t application = database.integer("PRAGMA application_id");
  const std::int64_t version = database.integer("PRAGMA user_version");
  const std::int64_t objects = database.integer("SELECT count(*) FROM sqlite_schema");
  if (application == 0 && version == 0 && objects == 0) return;
  if (application != kApplicationId) {
    throw Error(
        fmt::format("{} is a database of another program: it is left as it is. Name "
                    "another file with --store.",
                    database.file()));
  }
  if (version > kVersion) {
    throw Error(
        fmt::format("{} has version {} and this program knows versions up to {}: use a "
                    "newer fathom, or name another file with --store.",
                    database.file(), version, kVersion));
  }
}

// Readers do not wait for the writer in WAL mode. The switch needs the file alone, and SQLite does
// not wait for that by itself: another process may be making the same switch.
void use_write_ahead_log(Database& database) {
  constexpr int kAttempts = 200;
  constexpr int kPauseMs = 20;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int code =
        sqlite3_exec(database.handle(), "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr);
    if (code == SQLITE_OK) return;
    if ((code & 0xff) != SQLITE_BUSY || attempt + 1 == kAttempts) database.fail(code);
    sqlite3_sleep(kPauseMs);
  }
}

}  // namespace

void check_made(Database& database) {
  database.execute("BEGIN");
  check_ours(database);
  if (database.integer("PRAGMA user_version") == 0) {
    throw Error(fmt::format("{} is empty: no conversation was ever kept in it", database.file()));
  }
  database.execute("COMMIT");
}

void migrate(Database& database) {
  database.execute("BEGIN");
  check_ours(database);
  database.execute("COMMIT");
  use_write_ahead_log(database);
  // NORMAL: a commit is in the kernel's hands when it returns, which survives kill -9. A power cut
  // may take the last events, but never the database's wholeness.
  database.execute("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON");
  if (database.integer("PRAGMA user_version") == kVersion) return;

  Transaction transaction(database);
  check_ours(database);  // again: another process may have been first
  const std::int64_t version = database.integer("PRAGMA user_version");
  if (version == 0) database.execute(schema());
  if (version == 1) database.execute(kToVersion2);
  database.execute(fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}",
                               kApplicationId, kVersion));
  transaction.commit();
}

}  // namespace fathom::memory
