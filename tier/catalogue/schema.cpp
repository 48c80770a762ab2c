#include <array>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/internal.h"

namespace mediafs::tier::rows {

namespace {

// Names, paths and keys are blobs: they are bytes, and SQLite must not take them for text. Ids are never
// used again (AUTOINCREMENT), so that a job of a file that is gone cannot meet another file.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE node (
  id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL, name BLOB NOT NULL, kind INTEGER NOT NULL,
  generation INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0, mtime INTEGER NOT NULL DEFAULT 0,
  mode INTEGER NOT NULL DEFAULT 0, uid INTEGER NOT NULL DEFAULT 0, gid INTEGER NOT NULL DEFAULT 0,
  inode INTEGER NOT NULL DEFAULT 0, checksum BLOB, sha1 TEXT NOT NULL DEFAULT '',
  last_open INTEGER NOT NULL DEFAULT 0, pinned INTEGER NOT NULL DEFAULT 0,
  restat INTEGER NOT NULL DEFAULT 0,
  UNIQUE (parent, name)
);
CREATE INDEX node_inode ON node (inode);
INSERT INTO node (id, parent, name, kind, mode) VALUES (1, 0, x'', 1, 493);
CREATE TABLE copy (
  node INTEGER NOT NULL, branch INTEGER NOT NULL, generation INTEGER NOT NULL, size INTEGER NOT NULL,
  mtime INTEGER NOT NULL, ctime INTEGER, device INTEGER, inode INTEGER,
  key BLOB, etag TEXT, checksum BLOB, since INTEGER NOT NULL,
  PRIMARY KEY (node, branch)
) WITHOUT ROWID;
CREATE INDEX copy_inode ON copy (device, inode) WHERE branch = 1;
CREATE INDEX copy_key ON copy (key) WHERE branch = 2;
CREATE TABLE tombstone (key BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE change (
  version INTEGER PRIMARY KEY, kind INTEGER NOT NULL, path BLOB NOT NULL, origin BLOB, at INTEGER NOT NULL
);
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT, stage TEXT NOT NULL, file INTEGER NOT NULL, generation INTEGER NOT NULL,
  path BLOB NOT NULL, priority INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, not_before INTEGER NOT NULL,
  changed INTEGER NOT NULL, error TEXT NOT NULL DEFAULT '', error_code TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX job_equal ON job (stage, file, generation, path) WHERE state < 4;
CREATE INDEX job_file ON job (file, stage) WHERE state < 4;
CREATE INDEX job_take ON job (stage, priority DESC, id) WHERE state = 1;
CREATE INDEX job_due ON job (stage, not_before) WHERE state = 1;
CREATE INDEX job_changed ON job (state, changed, id);
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
)sql";

// When a file that may be evicted was last of use; NULL for those that may not. Kept by
// refresh_evictable(), so that the next files to go are found without looking at all the others.
constexpr const char* kVersion2 = R"sql(
ALTER TABLE node ADD COLUMN evict_at INTEGER;
CREATE INDEX node_evict ON node (evict_at, id) WHERE evict_at IS NOT NULL;
UPDATE node SET evict_at = (
  SELECT CASE WHEN node.last_open > 0 THEN node.last_open ELSE l.since END FROM copy l, copy v
  WHERE l.node = node.id AND l.branch = 1 AND v.node = node.id AND v.branch = 2 AND node.kind = 2
    AND node.pinned = 0 AND l.generation = node.generation AND v.generation = node.generation
    AND v.checksum = node.checksum);
)sql";

// A vault copy whose object was found missing while no local copy was there.
constexpr const char* kVersion3 = "ALTER TABLE copy ADD COLUMN lost INTEGER NOT NULL DEFAULT 0";

// What the share showed when it was last listed.
constexpr const char* kVersion4 = R"sql(
CREATE TABLE share_entry (
  dir BLOB NOT NULL, name BLOB NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  size INTEGER NOT NULL, mtime INTEGER NOT NULL, inode INTEGER NOT NULL,
  PRIMARY KEY (dir, name)
) WITHOUT ROWID;
)sql";

// Objects of deleted files: tier/catalogue/trash.h.
constexpr const char* kVersion5 = R"sql(
CREATE TABLE trash (
  id INTEGER PRIMARY KEY AUTOINCREMENT, state INTEGER NOT NULL, at INTEGER NOT NULL, path BLOB NOT NULL,
  source BLOB NOT NULL, key BLOB NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, mode INTEGER NOT NULL,
  uid INTEGER NOT NULL, gid INTEGER NOT NULL, checksum BLOB, sha1 TEXT NOT NULL, etag TEXT NOT NULL
);
CREATE UNIQUE INDEX trash_waiting ON trash (source) WHERE state = 1;
CREATE INDEX trash_key ON trash (key);
CREATE INDEX trash_path ON trash (path);
CREATE INDEX trash_due ON trash (state, at);
)sql";

constexpr std::array<const char*, kSchemaVersion> kMigrations{kVersion1, kVersion2, kVersion3, kVersion4,
                                                              kVersion5};

Result<std::int64_t> number(sql::Connection& db, std::string_view query) {
  MEDIAFS_ASSIGN(auto statement, db.prepare(query));
  MEDIAFS_ASSIGN(const bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

Status apply(sql::Connection& db, int version) {
  MEDIAFS_TRY(db.execute("BEGIN IMMEDIATE"));
  Status status = db.execute(kMigrations.at(static_cast<std::size_t>(version - 1)));
  if (status) status = db.execute("PRAGMA user_version=" + std::to_string(version));
  if (status) {
    crash_point("schema.before_commit");
    status = db.execute("COMMIT");
    crash_point("schema.after_commit");
  }
  if (!status) {
    if (const Status undone = db.execute("ROLLBACK"); !undone)
      log::debug("rollback", {{"why", undone.err().message()}});
  }
  return status;
}

}  // namespace

Status check_schema(sql::Connection& db, bool read_only) {
  MEDIAFS_ASSIGN(const std::int64_t version, number(db, "PRAGMA user_version"));
  if (version > kSchemaVersion) {
    return make_error(ErrorCode::unsupported, "catalogue " + printable(db.path()),
                      "it was written by a newer mediafs (schema " + std::to_string(version) +
                          ", this one knows " + std::to_string(kSchemaVersion) +
                          "): install that version again");
  }
  MEDIAFS_ASSIGN(const std::int64_t tables,
                 number(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table'"));
  if (version == 0 && tables > 0) {
    return make_error(ErrorCode::unsupported, "catalogue " + printable(db.path()),
                      "this database belongs to another program: set local.state to another directory");
  }
  if (read_only && version < kSchemaVersion) {
    return make_error(ErrorCode::unsupported, "catalogue " + printable(db.path()),
                      "it was written by an older mediafs: mount once, which brings it up to date");
  }
  return {};
}

Status migrate(sql::Connection& db, int to) {
  MEDIAFS_ASSIGN(const std::int64_t from, number(db, "PRAGMA user_version"));
  for (int version = static_cast<int>(from) + 1; version <= to; ++version) {
    MEDIAFS_TRY(apply(db, version));
    if (from > 0) log::info("catalogue brought up to date", {{"schema", version}});
  }
  return {};
}

Error explain_open(Error error, const std::string& path) {
  if (error.code != ErrorCode::corrupt) return error;
  error.cause += " (mediafs mount sets " + printable(path) +
                 " aside and serves the local files; then mediafs rebuild makes it again)";
  return error;
}

}  // namespace mediafs::tier::rows
