// Database, Statement, Transaction: SQLite's C API as objects that clean up after themselves.
#include "memory/sqlite.h"

#include <cerrno>
#include <cstring>
#include <mutex>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "memory/error.h"

namespace fathom::memory {
namespace {

// Another process holds the write lock for one event at a time: ten seconds mean that it hangs.
constexpr int kBusyTimeoutMs = 10'000;

// Makes the file before SQLite does, which would let the umask decide who may read conversations.
void create_private(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.parent_path();
  std::error_code error;
  if (!folder.empty() && !std::filesystem::exists(folder, error)) {
    std::filesystem::create_directories(folder.parent_path(), error);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      throw Error(fmt::format("cannot create folder {}: {}", folder.string(), strerror(errno)));
    }
  }
  // Closing a descriptor of a database drops the locks that SQLite holds on it in this process, so
  // only a file of our own making is opened here (O_EXCL), and no other thread is let at it before
  // it is closed again.
  static std::mutex alone;
  const std::lock_guard lock(alone);
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor >= 0) ::close(descriptor);
}

// How SQLite can read a file where it can write nothing. In WAL mode a reader writes too: it makes
// the log (FILE-wal) and the log's index (FILE-shm) where they are missing. What is there decides:
//   no log         no program has the file open and everything is in it, so it is read as one that
//                  does not change
//   log and index  a program has it open, or had when it was killed: read beside it, with locks
//   log alone      copied after a kill, so no program has it open: the index is made in memory, for
//                  which SQLite wants the file for itself, here without locks
struct ReadingWay {
  const char* query;
  const char* vfs;
  const char* pragma;
};
ReadingWay reading_way(const std::string& file) {
  const bool log = ::access((file + "-wal").c_str(), F_OK) == 0;
  const bool index = ::access((file + "-shm").c_str(), F_OK) == 0;
  if (!log) return {.query = "?immutable=1", .vfs = nullptr, .pragma = ""};
  if (index) return {.query = "", .vfs = nullptr, .pragma = ""};
  return {.query = "", .vfs = "unix-none", .pragma = "PRAGMA locking_mode = EXCLUSIVE"};
}

// An absolute path as SQLite takes it with parameters.
std::string uri_of(const std::filesystem::path& file) {
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(file).lexically_normal().string()) {
    uri += c == '%' ? "%25" : c == '?' ? "%3f" : c == '#' ? "%23" : std::string(1, c);
  }
  return uri;
}

bool can_write(const std::filesystem::path& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
}

int size_of(std::size_t bytes) {
  return static_cast<int>(bytes);
}

}  // namespace

void Database::Close::operator()(sqlite3* connection) const noexcept {
  sqlite3_close_v2(connection);
}

Database::Database(std::string file) : Database(file, file, SQLITE_OPEN_READWRITE, nullptr) {}

Database Database::reading(const std::filesystem::path& file) {
  const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
  if (::access(file.c_str(), R_OK) != 0) {
    throw Error(fmt::format("{} cannot be read: {}", file.string(), strerror(errno)));
  }
  if (can_write(file) && can_write(folder)) return Database(file.string());
  const ReadingWay way = reading_way(file.string());
  Database database(file.string(), uri_of(file) + way.query, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                    way.vfs);
  database.execute(way.pragma);
  return database;
}

Database::Database(std::string file, const std::string& name, int flags, const char* vfs)
    : file_(std::move(file)) {
  if ((flags & SQLITE_OPEN_READWRITE) != 0 && file_ != ":memory:") create_private(file_);
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &connection, flags | SQLITE_OPEN_FULLMUTEX, vfs);
  connection_.reset(connection);
  if (code != SQLITE_OK) fail(code);
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, kBusyTimeoutMs);
}

void Database::fail(int code) const {
  const char* said = connection_ != nullptr ? sqlite3_errmsg(connection_.get()) : "out of memory";
  switch (code & 0xff) {
    case SQLITE_NOTADB:
      throw Error(
          fmt::format("{} is not a database of Fathom's: it is left as it is. Move it away "
                      "or name another file with --store.",
                      file_));
    case SQLITE_CORRUPT:
      throw Error(
          fmt::format("{} is damaged ({}): it is left as it is. Move it away or name "
                      "another file with --store.",
                      file_, said));
    case SQLITE_BUSY:
      throw Error(fmt::format("{} is locked by another process for more than {} s", file_,
                              kBusyTimeoutMs / 1000));
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      throw Error(
          fmt::format("{}: {}. Make room, make it writable, or name another file with "
                      "--store.",
                      file_, said));
    default:
      throw Error(fmt::format("{}: {}", file_, said));
  }
}

void Database::execute(std::string_view sql) {
  const int code =
      sqlite3_exec(connection_.get(), std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

std::int64_t Database::integer(std::string_view sql) {
  Statement statement(*this, sql);
  return statement.step() ? statement.integer(0) : 0;
}

void Statement::Finalize::operator()(sqlite3_stmt* statement) const noexcept {
  sqlite3_finalize(statement);
}

Statement::Statement(const Database& database, std::string_view sql) : database_(database) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v2(database.handle(), sql.data(), size_of(sql.size()), &statement, nullptr);
  statement_.reset(statement);
  if (code != SQLITE_OK) database_.fail(code);
}

Statement& Statement::bind(int parameter, std::string_view text) {
  // An empty view may have no address, and SQLite reads a null address as NULL.
  const char* bytes = text.empty() ? "" : text.data();
  const int code = sqlite3_bind_text64(statement_.get(), parameter, bytes, text.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) database_.fail(code);
  return *this;
}

Statement& Statement::bind(int parameter, std::int64_t number) {
  const int code = sqlite3_bind_int64(statement_.get(), parameter, number);
  if (code != SQLITE_OK) database_.fail(code);
  return *this;
}

Statement& Statement::bind(int parameter, std::span<const std::byte> blob) {
  const int code = blob.empty() ? sqlite3_bind_zeroblob(statement_.get(), parameter, 0)
                                : sqlite3_bind_blob64(statement_.get(), parameter, blob.data(),
                                                      blob.size(), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) database_.fail(code);
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_.fail(code);
  return false;
}

void Statement::run() {
  while (step()) {
  }
}

std::string Statement::text(int column) const {
  const unsigned char* bytes = sqlite3_column_text(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  if (bytes == nullptr) return {};
  return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::span<const std::byte> Statement::blob(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {static_cast<const std::byte*>(bytes), static_cast<std::size_t>(size)};
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself (disk full); then there is nothing left to undo.
  if (open_) sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace fathom::memory
