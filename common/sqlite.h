// SQLite, wrapped: RAII connections and statements, errors as Result.
// Threads:    a Connection belongs to one thread at a time; whoever shares one brings the lock.
// Owns:       the connection and its cached statements. A Statement borrows its Connection.
// Errors:     corrupt (malformed, not a database), no_space (full), busy, io, internal (constraint, misuse).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mediafs::sql {

class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();  // resets and gives the statement back to its connection's cache

  // Parameters are numbered from 1.
  Statement& bind(int index, std::int64_t value);
  Statement& bind_null(int index);
  Statement& bind_text(int index, std::string_view value);  // copied
  Statement& bind_blob(int index, std::span<const std::uint8_t> value);
  Statement& bind_bytes(int index, std::string_view value);  // a name as a blob: any bytes
  Status run();                                              // to its end; for what gives no rows
  Result<bool> step();  // true: a row stands; false: done. After false a new bind starts over.
  void reset();

  // Columns are numbered from 0. REQUIRES: step() answered true.
  std::int64_t integer(int column) const;
  bool is_null(int column) const;
  std::string text(int column) const;       // blobs too
  std::string_view view(int column) const;  // valid until the next step() or reset()

 private:
  friend class Connection;
  Statement(class Connection* connection, sqlite3_stmt* statement, std::string_view sql);
  class Connection* connection_;
  sqlite3_stmt* statement_;
  std::string_view sql_;
  int bind_error_ = 0;
};

class Connection {
 public:
  enum class Mode : std::uint8_t { read_write_create, read_only };
  static Result<std::unique_ptr<Connection>> open(const std::string& path, Mode mode);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // REQUIRES: `sql` is a literal (its address keys the statement cache).
  Result<Statement> prepare(std::string_view sql);
  Status execute(const std::string& sql);  // one or several statements without parameters
  Status run(std::string_view literal);    // one; compiled once, as prepare() does
  std::int64_t last_insert_id() const;
  std::int64_t changes() const;
  const std::string& path() const { return path_; }
  sqlite3* raw() { return db_; }  // for the backup API
  // Called with each error that is `corrupt`, on the thread that met it.
  void on_corrupt(std::function<void()> told) { on_corrupt_ = std::move(told); }

 private:
  friend class Statement;
  Connection(sqlite3* db, std::string path);
  Error error(const char* what) const;
  void give_back(std::string_view sql, sqlite3_stmt* statement);
  struct Cache;
  sqlite3* db_;
  std::string path_;
  std::unique_ptr<Cache> cache_;
  std::function<void()> on_corrupt_;
};

}  // namespace mediafs::sql
