// Database, Statement, Transaction: SQLite's C API as objects that clean up after themselves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace fathom::memory {

// One connection. Every failure throws Error, whose text names the file.
class Database {
 public:
  // Opens `file`, creating it with mode 0600 in a folder of mode 0700; ":memory:" is in memory.
  explicit Database(std::string file);

  // Opens an existing file for reading alone, also where nothing can be written: on a read-only
  // disk, in a folder of somebody else's. Changes nothing there.
  static Database reading(const std::filesystem::path& file);

  void execute(std::string_view sql);          // any number of statements without results
  std::int64_t integer(std::string_view sql);  // the first value of the first record

  const std::string& file() const noexcept { return file_; }
  sqlite3* handle() const noexcept { return connection_.get(); }

  // Throws Error for the result code of a call on this connection.
  [[noreturn]] void fail(int code) const;

 private:
  struct Close {
    void operator()(sqlite3* connection) const noexcept;
  };
  Database(std::string file, const std::string& name, int flags, const char* vfs);

  std::string file_;
  std::unique_ptr<sqlite3, Close> connection_;
};

// A compiled statement. Parameters count from 1, columns from 0. Borrows the database.
class Statement {
 public:
  Statement(const Database& database, std::string_view sql);

  Statement& bind(int parameter, std::string_view text);
  Statement& bind(int parameter, std::int64_t number);
  Statement& bind(int parameter, std::span<const std::byte> blob);

  bool step();  // true: a record is there; false: done
  void run();   // for statements without records

  std::string text(int column) const;
  std::int64_t integer(int column) const;
  std::span<const std::byte> blob(int column) const;  // valid until the next step

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const noexcept;
  };
  const Database& database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Everything until commit() happens together or not at all. Takes the write lock at once, so that
// what is read inside cannot change before it is written.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace fathom::memory
