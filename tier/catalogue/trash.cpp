#include "tier/catalogue/trash.h"

#include <algorithm>

#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

constexpr std::int64_t number(TrashState state) {
  return static_cast<std::int64_t>(state);
}

void bind_checksum(sql::Statement& statement, int index, const std::optional<Xxh128>& checksum) {
  if (checksum) {
    statement.bind_blob(index, *checksum);
  } else {
    statement.bind_null(index);
  }
}

// Its key has its number, so it comes when that is known.
Result<std::int64_t> insert_entry(Tx& tx, const TrashEntry& entry) {
  MEDIAFS_ASSIGN(auto insert,
                 tx.db.prepare("INSERT INTO trash (state, at, path, source, key, size, mtime, mode, uid, "
                               "gid, checksum, sha1, etag) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  insert.bind(1, number(entry.state)).bind(2, entry.at_ns).bind_bytes(3, entry.path);
  insert.bind_bytes(4, entry.source).bind_bytes(5, entry.key);
  insert.bind(6, static_cast<std::int64_t>(entry.size_bytes)).bind(7, entry.mtime_ns);
  insert.bind(8, entry.mode).bind(9, entry.uid).bind(10, entry.gid);
  bind_checksum(insert, 11, entry.checksum);
  MEDIAFS_TRY(insert.bind_text(12, entry.sha1_hex).bind_text(13, entry.etag).run());
  return tx.db.last_insert_id();
}

Status set_state(Tx& tx, std::int64_t id, TrashState state) {
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE trash SET state = ?2 WHERE id = ?1"));
  return update.bind(1, id).bind(2, number(state)).run();
}

Result<std::vector<TrashEntry>> read_entries(sql::Statement& query) {
  std::vector<TrashEntry> found;
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return found;
    TrashEntry e;
    e.id = query.integer(0);
    e.state = static_cast<TrashState>(query.integer(1));
    e.at_ns = query.integer(2);
    e.path = query.text(3);
    e.source = query.text(4);
    e.key = query.text(5);
    e.size_bytes = static_cast<std::uint64_t>(query.integer(6));
    e.mtime_ns = query.integer(7);
    e.mode = static_cast<std::uint32_t>(query.integer(8));
    e.uid = static_cast<std::uint32_t>(query.integer(9));
    e.gid = static_cast<std::uint32_t>(query.integer(10));
    e.checksum = checksum_column(query, 11);
    e.sha1_hex = query.text(12);
    e.etag = query.text(13);
    found.push_back(std::move(e));
  }
}

Result<std::optional<TrashEntry>> only(Result<std::vector<TrashEntry>> found) {
  if (!found) return std::move(found).error();
  if (found->empty()) return std::optional<TrashEntry>{};
  return std::optional<TrashEntry>(std::move(found->front()));
}

// Literals, each of them: the address of its text is a statement's name.
#define MEDIAFS_TRASH_COLUMNS \
  "SELECT id, state, at, path, source, key, size, mtime, mode, uid, gid, checksum, sha1, etag FROM trash "

Result<std::optional<TrashEntry>> load_entry(sql::Connection& db, std::int64_t id) {
  MEDIAFS_ASSIGN(auto query, db.prepare(MEDIAFS_TRASH_COLUMNS "WHERE id = ?"));
  query.bind(1, id);
  return only(read_entries(query));
}

Result<std::optional<TrashEntry>> load_waiting(sql::Connection& db, std::string_view source) {
  MEDIAFS_ASSIGN(auto query, db.prepare(MEDIAFS_TRASH_COLUMNS "WHERE source = ? AND state = 1"));
  query.bind_bytes(1, source);
  return only(read_entries(query));
}

Status end_entry(Tx& tx, std::int64_t id) {
  MEDIAFS_ASSIGN(const auto entry, load_entry(tx.db, id));
  if (!entry || entry->state == TrashState::going) return {};
  MEDIAFS_TRY(set_state(tx, id, TrashState::going));
  return entry->state == TrashState::waiting ? forget_key(tx, entry->source) : Status{};
}

Status set_kept(Tx& tx, const TrashEntry& entry) {
  MEDIAFS_ASSIGN(const auto now, load_entry(tx.db, entry.id));
  if (!now || now->state != TrashState::waiting)
    return make_error(ErrorCode::changed, printable(entry.path), "it does not wait for the trash any more");
  MEDIAFS_ASSIGN(auto update,
                 tx.db.prepare("UPDATE trash SET state = 2, size = ?2, mtime = ?3, mode = ?4, uid = ?5, gid "
                               "= ?6, checksum = ?7, sha1 = ?8, etag = ?9 WHERE id = ?1"));
  update.bind(1, entry.id).bind(2, static_cast<std::int64_t>(entry.size_bytes)).bind(3, entry.mtime_ns);
  update.bind(4, entry.mode).bind(5, entry.uid).bind(6, entry.gid);
  bind_checksum(update, 7, entry.checksum);
  return update.bind_text(8, entry.sha1_hex).bind_text(9, entry.etag).run();
}

// Names that the kernel may believe to be free.
Status tell_new_names(Tx& tx, const std::string& path) {
  tx.shown.push_back(path);
  for (std::string above(parent_path(path)); !above.empty(); above = parent_path(above)) {
    MEDIAFS_ASSIGN(const std::int64_t there, resolve(tx.db, above));
    if (there != 0) return {};
    tx.shown.push_back(above);
  }
  return {};
}

Status bring_back(Tx& tx, const TrashEntry& entry, const VaultCopy& copy, bool visible) {
  MEDIAFS_ASSIGN(const auto now, load_entry(tx.db, entry.id));
  // Going: it expired while it was copied, so the copy is all that will be left.
  if (!now || now->state == TrashState::waiting)
    return make_error(ErrorCode::changed, printable(entry.path), "it is not in the trash any more");
  MEDIAFS_ASSIGN(const std::int64_t there, resolve(tx.db, copy.key));
  if (there != 0) return make_error(ErrorCode::exists, printable(copy.key), "something has this name");
  MEDIAFS_TRY(tell_new_names(tx, copy.key));
  Node node;
  node.path = copy.key;
  node.generation = 1;
  node.size_bytes = entry.size_bytes;
  node.mtime_ns = entry.mtime_ns;
  node.mode = entry.mode;
  node.uid = entry.uid;
  node.gid = entry.gid;
  node.checksum = entry.checksum;
  node.sha1_hex = entry.sha1_hex;
  MEDIAFS_ASSIGN(node.id, insert_node(tx, copy.key, node));
  MEDIAFS_TRY(put_vault(tx, node.id, copy, node.generation));
  MEDIAFS_TRY(set_content(tx, node));
  MEDIAFS_TRY(delete_tombstone(tx, copy.key));
  MEDIAFS_TRY(set_state(tx, entry.id, TrashState::going));
  return visible ? add_change(tx, ChangeKind::added, copy.key) : Status{};
}

// Its number is in its key: it is kept if no other row has it, so that the two stay alike.
Status add_found(Tx& tx, const TrashEntry& entry) {
  {
    MEDIAFS_ASSIGN(auto known, tx.db.prepare("SELECT 1 FROM trash WHERE key = ?"));
    MEDIAFS_ASSIGN(const bool row, known.bind_bytes(1, entry.key).step());
    if (row) return {};
  }
  MEDIAFS_ASSIGN(const auto other, load_entry(tx.db, entry.id));
  MEDIAFS_ASSIGN(const std::int64_t id, insert_entry(tx, entry));
  if (other || id == entry.id) return {};
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE trash SET id = ?2 WHERE id = ?1"));
  return update.bind(1, id).bind(2, entry.id).run();
}

}  // namespace

namespace {

// A clock that has fallen behind must not make it look old once it is right again.
Result<WallNs> time_of_deletion(Tx& tx) {
  MEDIAFS_ASSIGN(auto newest, tx.db.prepare("SELECT at FROM change ORDER BY version DESC LIMIT 1"));
  MEDIAFS_ASSIGN(const bool row, newest.step());
  return row ? std::max<WallNs>(tx.now_ns, newest.integer(0)) : tx.now_ns;
}

// Its object stands where it stood, and is to go to the trash.
Status add_waiting(Tx& tx, TrashEntry entry) {
  MEDIAFS_ASSIGN(entry.at_ns, time_of_deletion(tx));
  entry.key = entry.source;
  MEDIAFS_ASSIGN(const std::int64_t id, insert_entry(tx, entry));
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE trash SET key = ?2 WHERE id = ?1"));
  return update.bind(1, id).bind_bytes(2, trash_key(entry.at_ns, id, entry.path)).run();
}

Status add_stray(Tx& tx, const TrashEntry& entry) {
  MEDIAFS_ASSIGN(const auto waits, load_waiting(tx.db, entry.source));
  return waits || !tx.keeps_trash ? Status() : add_waiting(tx, entry);
}

}  // namespace

Status leave_for_trash(Tx& tx, const Node& node) {
  if (!tx.keeps_trash || !node.vault || node.vault->lost) return {};
  MEDIAFS_TRY(reclaim_from_trash(tx, node.vault->key));
  const VaultCopy& copy = *node.vault;
  const bool newest = copy.generation == node.generation;
  return add_waiting(tx,
                     {.path = node.path,
                      .source = copy.key,
                      .key = {},
                      .size_bytes = copy.size_bytes,
                      .mtime_ns = newest ? node.mtime_ns : copy.mtime_ns,
                      .mode = node.mode,
                      .uid = node.uid,
                      .gid = node.gid,
                      .checksum = copy.checksum,
                      .sha1_hex = newest && copy.checksum == node.checksum ? node.sha1_hex : std::string(),
                      .etag = copy.etag});
}

// A copy of it may stand in the trash already, unproven: so the row goes by way of the sweep.
Status reclaim_from_trash(Tx& tx, std::string_view key) {
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE trash SET state = 3 WHERE source = ? AND state = 1"));
  return update.bind_bytes(1, key).run();
}

}  // namespace rows

using rows::Tx;

Result<std::vector<TrashEntry>> Catalogue::trash(std::string_view below, std::int64_t before,
                                                 std::size_t limit) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(auto query,
                 lease.db().prepare(MEDIAFS_TRASH_COLUMNS
                                    "WHERE state <> 3 AND (?1 = 0 OR id < ?1) AND (?2 = x'' OR path = ?2 OR "
                                    "(path > ?3 AND path < ?4)) ORDER BY id DESC LIMIT ?5"));
  query.bind(1, before).bind_bytes(2, below).bind_bytes(3, std::string(below) + "/");
  query.bind_bytes(4, std::string(below) + "0").bind(5, static_cast<std::int64_t>(limit));
  return rows::read_entries(query);
}

Result<std::optional<TrashEntry>> Catalogue::trash_entry(std::int64_t id) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::load_entry(lease.db(), id);
}

Result<std::optional<TrashEntry>> Catalogue::trash_waiting(std::string_view source) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::load_waiting(lease.db(), source);
}

Result<std::vector<TrashEntry>> Catalogue::trash_due(WallNs deleted_before, std::int64_t after,
                                                     std::size_t limit) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(auto query,
                 lease.db().prepare(
                     MEDIAFS_TRASH_COLUMNS
                     "WHERE (state = 3 OR (state IN (1, 2) AND at <= ?1)) AND id > ?2 ORDER BY id LIMIT ?3"));
  query.bind(1, deleted_before).bind(2, after).bind(3, static_cast<std::int64_t>(limit));
  return rows::read_entries(query);
}

Status Catalogue::trash_stray(const TrashEntry& entry) {
  MEDIAFS_TRY(check_path(entry.source));
  return impl_->write([&](Tx& tx) { return rows::add_stray(tx, entry); }, true);
}

Status Catalogue::trash_kept(const TrashEntry& entry) {
  return impl_->write([&](Tx& tx) { return rows::set_kept(tx, entry); }, true);
}

Status Catalogue::trash_going(const std::vector<std::int64_t>& ids) {
  return impl_->write(
      [&](Tx& tx) -> Status {
        for (const std::int64_t id : ids) MEDIAFS_TRY(rows::end_entry(tx, id));
        return {};
      },
      true);
}

Status Catalogue::trash_gone(const std::vector<std::int64_t>& ids) {
  return impl_->write([&](Tx& tx) -> Status {
    for (const std::int64_t id : ids) {
      MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM trash WHERE id = ? AND state = 3"));
      MEDIAFS_TRY(remove.bind(1, id).run());
    }
    return {};
  });
}

Status Catalogue::trash_restored(const TrashEntry& entry, const VaultCopy& copy, bool visible) {
  MEDIAFS_TRY(check_path(copy.key));
  return impl_->write([&](Tx& tx) { return rows::bring_back(tx, entry, copy, visible); }, true);
}

Status Catalogue::trash_restoring(std::string_view key) {
  MEDIAFS_TRY(check_path(key));
  return impl_->write([&](Tx& tx) { return rows::forget_key(tx, key); }, true);
}

Status Catalogue::trash_found(const std::vector<TrashEntry>& entries) {
  return impl_->write([&](Tx& tx) -> Status {
    for (const TrashEntry& entry : entries) MEDIAFS_TRY(rows::add_found(tx, entry));
    return {};
  });
}

}  // namespace mediafs::tier
