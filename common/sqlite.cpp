#include "common/sqlite.h"

#include <sqlite3.h>

#include <cassert>
#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mediafs::sql {

namespace {

constexpr int kBusyTimeoutMs = 10'000;
constexpr std::size_t kSparesPerStatement = 4;
constexpr std::size_t kStatementLimit = 512;

ErrorCode code_of(int rc, int sys_errno) {
  switch (rc & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
      return ErrorCode::busy;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::corrupt;
    case SQLITE_FULL:
      return ErrorCode::no_space;
    case SQLITE_READONLY:
      return ErrorCode::read_only;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return ErrorCode::permission;
    case SQLITE_INTERRUPT:
      return ErrorCode::cancelled;
    case SQLITE_TOOBIG:
      return ErrorCode::too_large;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_PROTOCOL:
      return sys_errno != 0 ? errno_error(sys_errno, {}).code : ErrorCode::io;
    default:  // constraint, misuse, bad SQL: bugs of ours
      return ErrorCode::internal;
  }
}

}  // namespace

// Statements at rest, by the address of their text.
struct Connection::Cache {
  std::unordered_map<const void*, std::vector<sqlite3_stmt*>> by_address;
  std::size_t count = 0;
};

Statement::Statement(Connection* connection, sqlite3_stmt* statement, std::string_view sql)
    : connection_(connection), statement_(statement), sql_(sql) {}

Statement::Statement(Statement&& other) noexcept
    : connection_(other.connection_),
      statement_(std::exchange(other.statement_, nullptr)),
      sql_(other.sql_),
      bind_error_(other.bind_error_) {}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  connection_->give_back(sql_, statement_);
}

Statement& Statement::bind(int index, std::int64_t value) {
  if (const int rc = sqlite3_bind_int64(statement_, index, value); rc != SQLITE_OK) bind_error_ = rc;
  return *this;
}

Statement& Statement::bind_null(int index) {
  if (const int rc = sqlite3_bind_null(statement_, index); rc != SQLITE_OK) bind_error_ = rc;
  return *this;
}

// An empty view may have a null pointer, which SQLite would take for NULL: hence the "".
Statement& Statement::bind_text(int index, std::string_view value) {
  const int rc = sqlite3_bind_text64(statement_, index, value.empty() ? "" : value.data(), value.size(),
                                     SQLITE_TRANSIENT, SQLITE_UTF8);  // NOLINT: SQLite's own cast
  if (rc != SQLITE_OK) bind_error_ = rc;
  return *this;
}

Statement& Statement::bind_blob(int index, std::span<const std::uint8_t> value) {
  const void* bytes = value.empty() ? static_cast<const void*>("") : value.data();
  const int rc = sqlite3_bind_blob64(statement_, index, bytes, value.size(), SQLITE_TRANSIENT);  // NOLINT
  if (rc != SQLITE_OK) bind_error_ = rc;
  return *this;
}

Statement& Statement::bind_bytes(int index, std::string_view value) {
  const int rc = sqlite3_bind_blob64(statement_, index, value.empty() ? "" : value.data(), value.size(),
                                     SQLITE_TRANSIENT);  // NOLINT
  if (rc != SQLITE_OK) bind_error_ = rc;
  return *this;
}

Status Statement::run() {
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, step());
    if (!row) return {};
  }
}

Result<bool> Statement::step() {
  if (const int rc = std::exchange(bind_error_, 0); rc != SQLITE_OK) {
    sqlite3_reset(statement_);
    return make_error(ErrorCode::internal, "database " + connection_->path_,
                      std::string("bind to ") + sqlite3_sql(statement_) + ": " + sqlite3_errstr(rc));
  }
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) {
    sqlite3_reset(statement_);
    return false;
  }
  Error error = connection_->error(sqlite3_sql(statement_));
  sqlite3_reset(statement_);
  return error;
}

void Statement::reset() {
  sqlite3_reset(statement_);
  bind_error_ = 0;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::string Statement::text(int column) const {
  return std::string(view(column));
}

std::string_view Statement::view(int column) const {
  // column_text appends a NUL to a blob and may convert; column_blob leaves blobs as they are.
  const bool blob = sqlite3_column_type(statement_, column) == SQLITE_BLOB;
  const void* bytes = blob ? sqlite3_column_blob(statement_, column)
                           : static_cast<const void*>(sqlite3_column_text(statement_, column));
  const int size = sqlite3_column_bytes(statement_, column);
  if (bytes == nullptr || size <= 0) return {};
  return {static_cast<const char*>(bytes), static_cast<std::size_t>(size)};
}

Connection::Connection(sqlite3* db, std::string path)
    : db_(db), path_(std::move(path)), cache_(std::make_unique<Cache>()) {}

Connection::~Connection() {
  for (auto& [address, spares] : cache_->by_address) {
    for (sqlite3_stmt* statement : spares) sqlite3_finalize(statement);
  }
  [[maybe_unused]] const int rc = sqlite3_close(db_);
  assert(rc == SQLITE_OK && "a Statement outlived its Connection");
}

Result<std::unique_ptr<Connection>> Connection::open(const std::string& path, Mode mode) {
  sqlite3* db = nullptr;
  const int access =
      mode == Mode::read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int rc =
      sqlite3_open_v2(path.c_str(), &db, access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (db == nullptr) return make_error(ErrorCode::busy, "database " + path, "out of memory");
  std::unique_ptr<Connection> connection(new Connection(db, path));  // NOLINT: private constructor
  if (rc != SQLITE_OK) return connection->error("open");
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  return connection;
}

Result<Statement> Connection::prepare(std::string_view sql) {
  if (const auto found = cache_->by_address.find(sql.data()); found != cache_->by_address.end()) {
    auto& spares = found->second;
    while (!spares.empty()) {
      sqlite3_stmt* statement = spares.back();
      spares.pop_back();
      --cache_->count;
      // A buffer that is no literal may hold another text by now; then the cached one is of no use.
      if (sql == sqlite3_sql(statement)) return Statement(this, statement, sql);
      sqlite3_finalize(statement);
    }
  }
  sqlite3_stmt* statement = nullptr;
  const int rc = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                    &statement, nullptr);
  if (rc != SQLITE_OK) return error(std::string(sql).c_str());
  if (statement == nullptr) return make_error(ErrorCode::internal, "database " + path_, "empty statement");
  return Statement(this, statement, sql);
}

void Connection::give_back(std::string_view sql, sqlite3_stmt* statement) {
  auto& spares = cache_->by_address[sql.data()];
  if (spares.size() >= kSparesPerStatement || cache_->count >= kStatementLimit) {
    sqlite3_finalize(statement);
    return;
  }
  spares.push_back(statement);
  ++cache_->count;
}

Status Connection::execute(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return error(sql.c_str());
  return {};
}

Status Connection::run(std::string_view literal) {
  auto statement = prepare(literal);
  return statement ? statement->run() : Status(std::move(statement).error());
}

std::int64_t Connection::last_insert_id() const {
  return sqlite3_last_insert_rowid(db_);
}

std::int64_t Connection::changes() const {
  return sqlite3_changes64(db_);
}

Error Connection::error(const char* what) const {
  const int rc = sqlite3_extended_errcode(db_);
  const int sys_errno = sqlite3_system_errno(db_);
  const ErrorCode code = code_of(rc, sys_errno);
  if (code == ErrorCode::corrupt && on_corrupt_) on_corrupt_();
  return make_error(code, "database " + path_, std::string(sqlite3_errmsg(db_)) + " (" + what + ")");
}

}  // namespace mediafs::sql
