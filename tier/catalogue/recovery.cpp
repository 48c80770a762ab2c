#include "tier/catalogue/recovery.h"

#include <functional>

#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/internal.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kShown = 20;
constexpr std::size_t kRowsAtOnce = 1000;

bool same_object(const VaultCopy& copy, const VaultFile& file) {
  return copy.size_bytes == file.size_bytes && copy.etag == file.etag;
}

Result<std::vector<std::int64_t>> ids_of(sql::Connection& db, std::string_view query_text) {
  std::vector<std::int64_t> ids;
  MEDIAFS_ASSIGN(auto query, db.prepare(query_text));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return ids;
    ids.push_back(query.integer(0));
  }
}

void show(std::vector<std::string>& some, const std::string& path) {
  if (some.size() < kShown) some.push_back(path);
}

}  // namespace

Result<std::unique_ptr<Recovery>> Recovery::open(const std::string& file, Clock& clock) {
  MEDIAFS_ASSIGN(auto db, sql::Connection::open(file, sql::Connection::Mode::read_write_create));
  MEDIAFS_TRY(rows::check_schema(*db, false));
  // It is made again after a power cut: its file reaches the disk at the end.
  MEDIAFS_TRY(db->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY"));
  MEDIAFS_TRY(rows::migrate(*db));
  MEDIAFS_TRY(
      db->execute("CREATE TEMP TABLE listed (node INTEGER PRIMARY KEY);"
                  "CREATE TEMP TABLE orphan (key BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, etag TEXT)"));
  std::unique_ptr<Recovery> recovery(new Recovery(std::move(db), clock));  // NOLINT: private constructor
  MEDIAFS_ASSIGN(recovery->version_, rows::newest_version(*recovery->db_));
  const auto last = ids_of(*recovery->db_, "SELECT max(id) FROM node");
  if (!last) return last.err();
  recovery->last_old_ = last->empty() ? 0 : last->front();
  return recovery;
}

Status Recovery::all_or_nothing(const std::function<Status()>& work) {
  MEDIAFS_TRY(db_->run("BEGIN IMMEDIATE"));
  Status done = work();
  if (done) return db_->run("COMMIT");
  if (const Status undone = db_->run("ROLLBACK"); !undone)
    log::debug("rollback", {{"why", undone.err().message()}});
  return done;
}

Status Recovery::begin(std::int64_t version_floor) {
  {
    MEDIAFS_ASSIGN(auto query, db_->prepare("SELECT key FROM tombstone"));
    for (;;) {
      MEDIAFS_ASSIGN(const bool row, query.step());
      if (!row) break;
      tombstones_.push_back(query.text(0));
    }
  }
  return all_or_nothing([&]() -> Status {
    MEDIAFS_TRY(db_->execute(
        "DELETE FROM job WHERE stage NOT IN ('checksum', 'upload', 'restat');"
        "DELETE FROM tombstone;"
        "DELETE FROM trash WHERE state = 1;"
        "DELETE FROM setting WHERE name LIKE 'replacing.%' OR name LIKE 'later.%' OR name LIKE "
        "'snapshot.%' OR name IN "
        "('catalogue.incomplete', 'rebuild.metadata', 'vault.listed', 'vault.listed_to', 'trash.listed', "
        "'vault.id_offered')"));
    rows::Tx tx{*db_, clock_.wall_ns()};
    return rows::lift_version(tx, version_floor);
  });
}

Status Recovery::drop_removals() {
  return all_or_nothing([&] {
    return db_->execute(
        "DELETE FROM job WHERE stage IN ('forget', 'relocate', 'evict'); DELETE FROM tombstone");
  });
}

Status Recovery::take_page(const std::vector<VaultFile>& page) {
  return all_or_nothing([&]() -> Status {
    for (const VaultFile& file : page) {
      Status taken = take_file(file);
      if (taken) continue;
      if (!rows::is_key_trouble(taken.err().code)) return taken;
      log::warning("vault object not shown", taken.err(), {{"key", printable(file.key)}});
    }
    return {};
  });
}

Status Recovery::take_file(const VaultFile& file) {
  MEDIAFS_TRY(check_path(file.key));
  if (file.key.empty() || is_within(file.key, ".mediafs")) return {};
  if (file.folder) return import(file);
  MEDIAFS_ASSIGN(const auto node, rows::load(*db_, file.key));
  MEDIAFS_ASSIGN(const std::int64_t owner, rows::key_owner(*db_, file.key, node ? node->id : 0));
  if (owner == 0) return take_path(node, file);
  // That of a file which was renamed before its object was: unless that one's own path is listed later on.
  MEDIAFS_ASSIGN(auto put, db_->prepare("INSERT OR REPLACE INTO orphan VALUES (?, ?, ?, ?)"));
  return put.bind_bytes(1, file.key)
      .bind(2, static_cast<std::int64_t>(file.size_bytes))
      .bind(3, file.mtime_ns)
      .bind_text(4, file.etag)
      .run();
}

Status Recovery::take_path(const std::optional<Node>& node, const VaultFile& file) {
  return node && node->kind == NodeKind::file ? take_own(*node, file) : import(file);
}

Status Recovery::take_own(const Node& node, const VaultFile& file) {
  rows::Tx tx{*db_, clock_.wall_ns()};
  MEDIAFS_TRY(listed(node.id));
  const bool stands = node.vault && same_object(*node.vault, file);
  if (stands && !node.vault->lost && node.vault->key == file.key) {
    ++outcome_.kept;
    return {};
  }
  ++outcome_.refreshed;
  VaultCopy copy = rows::unread_copy(file);
  if (node.local) return rows::put_vault(tx, node.id, copy, rows::kUnproven);  // its upload looks what it is
  if (node.size_bytes != file.size_bytes || !node.vault) return rows::follow_vault(tx, node, copy, true);
  copy.mtime_ns = node.mtime_ns;  // the listing's is the upload's, with some stores
  if (stands) copy.checksum = node.vault->checksum;
  Node next = node;
  next.checksum = copy.checksum;
  if (!stands) next.sha1_hex.clear();
  MEDIAFS_TRY(rows::put_vault(tx, node.id, copy, node.generation));
  return rows::set_content(tx, next);
}

Status Recovery::import(const VaultFile& file) {
  rows::Tx tx{*db_, clock_.wall_ns()};
  MEDIAFS_ASSIGN(const bool added, rows::import_file(tx, file));
  if (added) ++outcome_.adopted;
  return {};
}

Status Recovery::listed(std::int64_t id) {
  MEDIAFS_ASSIGN(auto put, db_->prepare("INSERT OR IGNORE INTO listed VALUES (?)"));
  return put.bind(1, id).run();
}

Status Recovery::take_orphans() {
  std::vector<VaultFile> files;
  {
    MEDIAFS_ASSIGN(auto query, db_->prepare("SELECT key, size, mtime, etag FROM orphan"));
    for (;;) {
      MEDIAFS_ASSIGN(const bool row, query.step());
      if (!row) break;
      files.push_back(
          {query.text(0), static_cast<std::uint64_t>(query.integer(1)), query.integer(2), query.text(3)});
    }
  }
  for (const VaultFile& file : files) {
    MEDIAFS_ASSIGN(const auto there, rows::load(*db_, file.key));
    MEDIAFS_ASSIGN(const std::int64_t owner, rows::key_owner(*db_, file.key, there ? there->id : 0));
    MEDIAFS_ASSIGN(const auto node, rows::load(*db_, owner));
    if (owner != 0 && node && node->vault && same_object(*node->vault, file)) {
      rows::Tx tx{*db_, clock_.wall_ns()};
      MEDIAFS_TRY(listed(owner));
      MEDIAFS_TRY(rows::settle_key(tx, *node, file.key));
      ++outcome_.kept;
      continue;
    }
    if (owner != 0) MEDIAFS_TRY(drop_missing_row(owner));  // its object is gone from there
    Status taken = take_path(there, file);
    if (!taken && !rows::is_key_trouble(taken.err().code)) return taken;
  }
  return {};
}

Status Recovery::drop_missing_row(std::int64_t id) {
  rows::Tx tx{*db_, clock_.wall_ns()};
  MEDIAFS_ASSIGN(const auto node, rows::load(*db_, id));
  if (!node || !node->vault) return {};
  if (node->local) return rows::take_loss(tx, *node, node->vault->key);
  ++outcome_.gone;
  show(outcome_.some_gone, node->path);
  MEDIAFS_TRY(rows::delete_node(tx, id));
  return rows::add_change(tx, ChangeKind::deleted, node->path);
}

// Files whose object the listing did not have. One that was lost already stays so: nothing is new about it.
Status Recovery::drop_missing() {
  for (;;) {
    MEDIAFS_ASSIGN(auto query,
                   db_->prepare("SELECT node FROM copy WHERE branch = 2 AND lost = 0 AND node <= ?1 AND node "
                                "NOT IN (SELECT node FROM listed) LIMIT ?2"));
    query.bind(1, last_old_).bind(2, static_cast<std::int64_t>(kRowsAtOnce));
    std::vector<std::int64_t> ids;
    for (;;) {
      MEDIAFS_ASSIGN(const bool row, query.step());
      if (!row) break;
      ids.push_back(query.integer(0));
    }
    if (ids.empty()) return {};
    for (const std::int64_t id : ids) MEDIAFS_TRY(drop_missing_row(id));
  }
}

Status Recovery::prune_directories() {
  do {
    MEDIAFS_TRY(db_->execute(
        "DELETE FROM node WHERE kind = 1 AND id <> 1 AND pinned = 0 AND NOT EXISTS (SELECT 1 FROM node c "
        "WHERE c.parent = "
        "node.id) AND NOT EXISTS (SELECT 1 FROM copy WHERE copy.node = node.id AND copy.branch = 1)"));
  } while (db_->changes() > 0);
  return {};
}

Status Recovery::call_for_uploads() {
  const auto ids =
      ids_of(*db_,
             "SELECT l.node FROM copy l JOIN node n ON n.id = l.node AND n.kind = 2 LEFT JOIN copy v ON "
             "v.node = l.node AND v.branch = 2 WHERE l.branch = 1 AND (v.node IS NULL OR v.generation <> "
             "n.generation OR l.generation <> n.generation OR n.checksum IS NULL)");
  if (!ids) return ids.err();
  rows::Tx tx{*db_, clock_.wall_ns()};
  for (const std::int64_t id : *ids) {
    MEDIAFS_ASSIGN(const auto node, rows::load(*db_, id));
    if (!node || !node->local) continue;
    const bool read = node->checksum && node->local->generation == node->generation;
    MEDIAFS_TRY(rows::enqueue_for(tx, read ? kStageUpload : kStageChecksum, *node));
  }
  return {};
}

Status Recovery::find_suspects(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (!check_path(path)) continue;
    MEDIAFS_ASSIGN(const auto node, rows::load(*db_, path));
    if (!node || node->kind != NodeKind::file || node->local || !node->vault || node->vault->key != path)
      continue;
    ++outcome_.back;
    show(outcome_.some_back, path);
  }
  return {};
}

Result<Recovered> Recovery::finish(const std::string& vault_id, const std::vector<std::string>& suspects) {
  const auto work = [&]() -> Status {
    MEDIAFS_TRY(take_orphans());
    MEDIAFS_TRY(drop_missing());
    MEDIAFS_TRY(prune_directories());
    MEDIAFS_TRY(call_for_uploads());
    rows::Tx tx{*db_, clock_.wall_ns()};
    MEDIAFS_TRY(rows::set_setting(tx, kVaultId, vault_id));
    MEDIAFS_TRY(rows::set_setting(tx, kVaultListed, "yes"));
    return rows::set_setting(tx, "rebuild.metadata", "/");
  };
  MEDIAFS_TRY(all_or_nothing(work));
  MEDIAFS_TRY(find_suspects(suspects));
  return outcome_;
}

}  // namespace mediafs::tier
