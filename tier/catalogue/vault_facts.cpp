#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/impl.h"
#include "tier/vault/names.h"

namespace mediafs::tier {

namespace rows {

Status put_tombstone(Tx& tx, std::string_view key) {
  MEDIAFS_ASSIGN(auto put, tx.db.prepare("INSERT OR REPLACE INTO tombstone (key, at) VALUES (?, ?)"));
  return put.bind_bytes(1, key).bind(2, tx.now_ns).run();
}

Status delete_tombstone(Tx& tx, std::string_view key) {
  MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM tombstone WHERE key = ?"));
  return remove.bind_bytes(1, key).run();
}

Result<bool> tombstoned(sql::Connection& db, std::string_view key) {
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT 1 FROM tombstone WHERE key = ?"));
  query.bind_bytes(1, key);
  return query.step();
}

Status forget_key(Tx& tx, std::string_view key) {
  MEDIAFS_TRY(put_tombstone(tx, key));
  return enqueue(tx, {.stage = std::string(kStageForget), .path = std::string(key)});
}

Result<std::int64_t> key_owner(sql::Connection& db, std::string_view key, std::int64_t other_than) {
  MEDIAFS_ASSIGN(
      auto query,
      db.prepare("SELECT node FROM copy WHERE branch = 2 AND key = ? AND node <> ? AND lost = 0 LIMIT 1"));
  query.bind_bytes(1, key).bind(2, other_than);
  MEDIAFS_ASSIGN(const bool row, query.step());
  return row ? query.integer(0) : 0;
}

Result<std::int64_t> object_owner(sql::Connection& db, std::string_view key, std::int64_t other_than) {
  for (const std::string& name : same_object(key)) {
    MEDIAFS_ASSIGN(const std::int64_t owner, key_owner(db, name, other_than));
    if (owner != 0) return owner;
  }
  return std::int64_t{0};
}

Result<bool> key_in_use(sql::Connection& db, std::string_view key) {
  MEDIAFS_ASSIGN(const std::int64_t owner, object_owner(db, key, 0));
  if (owner != 0) return true;
  for (const std::string& name : same_object(key)) {
    MEDIAFS_ASSIGN(const auto node, load(db, name));
    if (node && node->kind == NodeKind::file) return true;
  }
  return false;
}

// The file's object is under `key`: right there, or to be moved on.
Status settle_key(Tx& tx, const Node& node, const std::string& key) {
  if (key == node.path) return delete_tombstone(tx, key);
  MEDIAFS_TRY(put_tombstone(tx, key));
  return enqueue_for(tx, kStageRelocate, node);
}

namespace {

// An object was written over that of another file, whose relocation had not run. Whoever writes asks
// key_owner() first, so this is a bug's or a stranger's doing; the other row must not go on trusting bytes
// that are gone.
Status displace(Tx& tx, std::string_view key, std::int64_t id) {
  MEDIAFS_ASSIGN(const std::int64_t owner, object_owner(tx.db, key, id));
  if (owner == 0) return {};
  MEDIAFS_TRY(delete_copy(tx, owner, kVaultBranch));
  MEDIAFS_ASSIGN(const auto other, load(tx.db, owner));
  if (!other) return {};
  log::error(
      "vault object overwritten",
      {{"path", printable(other->path)}, {"key", printable(key)}, {"local_copy", other->local ? 1 : 0}});
  return other->local && tx.has_vault ? enqueue_for(tx, kStageUpload, *other) : Status{};
}

// The object that stands under `key` belongs to no row (any more).
Status forget_unowned(Tx& tx, std::string_view key) {
  MEDIAFS_ASSIGN(const std::int64_t owner, object_owner(tx.db, key, 0));
  return owner == 0 ? forget_key(tx, key) : Status{};
}

// Nobody has read what a listing showed under the name that the file had then: perhaps some other file's only bytes.
Status keep_unread_at_old_key(Tx& tx, const Node& node, const std::string& new_key) {
  const bool unread = node.vault && node.vault->generation == kUnproven && !node.vault->checksum;
  if (!unread || node.vault->key == new_key) return {};
  Node listed = node;
  listed.path = node.vault->key;
  return leave_for_trash(tx, listed);
}

Status take_upload(Tx& tx, Node node, std::int64_t generation, VaultCopy copy) {
  if (generation > node.generation) {
    return make_error(ErrorCode::invalid, printable(node.path),
                      "an upload of a generation that it never had");
  }
  MEDIAFS_TRY(displace(tx, copy.key, node.id));
  const std::optional<std::string> old_key = node.vault ? std::optional(node.vault->key) : std::nullopt;
  const bool same_bytes =
      node.checksum && node.checksum == copy.checksum && node.size_bytes == copy.size_bytes;
  const bool other_bytes = generation == node.generation && node.checksum && node.checksum != copy.checksum;
  copy.generation = same_bytes ? node.generation : other_bytes ? kUnproven : generation;
  MEDIAFS_TRY(keep_unread_at_old_key(tx, node, copy.key));
  MEDIAFS_TRY(put_vault(tx, node.id, copy, copy.generation));
  node.vault = copy;
  MEDIAFS_TRY(settle_key(tx, node, copy.key));
  if (old_key && *old_key != copy.key) MEDIAFS_TRY(forget_unowned(tx, *old_key));
  if (!node.dirty()) return restat_if_asked(tx, node, generation != node.generation);
  // The local file went while an older generation was on its way: that one is what is left of it.
  if (!node.local) return follow_vault(tx, node, copy, true);
  // The bytes that went up are not those of the checksum, or the newest are still to go.
  if (other_bytes || !node.checksum) return enqueue_for(tx, kStageChecksum, node);
  return tx.has_vault ? enqueue_for(tx, kStageUpload, node) : Status{};
}

Status take_relocated(Tx& tx, Node node, const std::string& old_key, VaultCopy copy) {
  const bool moved_on =
      node.vault && !node.vault->lost && node.vault->key != old_key && node.vault->key != copy.key;
  if (moved_on) {  // an upload to a third key came first: it is newer than what was moved
    MEDIAFS_TRY(forget_unowned(tx, old_key));
    return forget_unowned(tx, copy.key);
  }
  if (node.vault &&
      node.vault->key == old_key) {  // a move within the vault does not change what the bytes are
    copy.generation = node.vault->generation;
    if (!copy.checksum) copy.checksum = node.vault->checksum;
  }
  MEDIAFS_TRY(displace(tx, copy.key, node.id));
  MEDIAFS_TRY(put_vault(tx, node.id, copy, copy.generation));
  node.vault = copy;
  MEDIAFS_TRY(settle_key(tx, node, copy.key));
  if (old_key != copy.key) MEDIAFS_TRY(forget_unowned(tx, old_key));
  if (!node.dirty()) return restat_if_asked(tx, node, false);
  return node.local && node.checksum && tx.has_vault ? enqueue_for(tx, kStageUpload, node) : Status{};
}

Status take_refined(Tx& tx, Node node, VaultCopy copy, std::uint32_t mode, std::uint32_t uid,
                    std::uint32_t gid) {
  const VaultCopy had = *node.vault;
  if (node.local) {  // the row's facts are the local file's; the copy only becomes a proof, or not
    const bool same = node.checksum && node.checksum == copy.checksum && node.size_bytes == copy.size_bytes;
    MEDIAFS_TRY(put_vault(tx, node.id, copy, same ? node.generation : had.generation));
    return {};
  }
  const bool other = had.checksum ? had.checksum != copy.checksum : had.size_bytes != copy.size_bytes;
  if (other) {
    MEDIAFS_TRY(follow_vault(tx, node, copy, true));
  } else {
    node.mtime_ns = copy.mtime_ns;
    node.checksum = copy.checksum;
    MEDIAFS_TRY(put_vault(tx, node.id, copy, had.generation));
    MEDIAFS_TRY(set_content(tx, node));
  }
  tx.shown.push_back(node.path);
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET mode = ?2, uid = ?3, gid = ?4 WHERE id = ?1"));
  return update.bind(1, node.id).bind(2, mode).bind(3, uid).bind(4, gid).run();
}

}  // namespace

}  // namespace rows

using rows::Tx;

Status Catalogue::uploaded(std::int64_t id, std::int64_t generation, const VaultCopy& copy) {
  MEDIAFS_TRY(check_path(copy.key));
  return impl_->write(
      [&](Tx& tx) -> Status {
        MEDIAFS_ASSIGN(auto node, rows::load(tx.db, id));
        if (!node) return rows::forget_unowned(tx, copy.key);
        const bool had = node->vault && node->vault->generation == copy.generation &&
                         node->vault->checksum == copy.checksum;  // a restat confirms what is known
        if (!had) MEDIAFS_TRY(rows::tell_hooks(tx, kEventUploaded, node->path));
        return rows::take_upload(tx, std::move(*node), generation, copy);
      },
      true);
}

Status Catalogue::relocated(std::int64_t id, const std::string& old_key, const VaultCopy& copy) {
  MEDIAFS_TRY(check_path(copy.key));
  return impl_->write(
      [&](Tx& tx) -> Status {
        MEDIAFS_ASSIGN(auto node, rows::load(tx.db, id));
        if (node) return rows::take_relocated(tx, std::move(*node), old_key, copy);
        MEDIAFS_TRY(rows::forget_unowned(tx, old_key));
        return rows::forget_unowned(tx, copy.key);
      },
      true);
}

Status Catalogue::refine_vault(std::int64_t id, const VaultCopy& copy, std::uint32_t mode, std::uint32_t uid,
                               std::uint32_t gid) {
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(auto node, Impl::file(tx, id));
    if (!node.vault || node.vault->key != copy.key) {
      return make_error(ErrorCode::changed, printable(node.path), "its object moved while it was looked at");
    }
    // Attributes that somebody set since are newer than those that the object carries.
    MEDIAFS_ASSIGN(const bool restat, rows::outstanding(tx.db, kStageRestat, id));
    VaultCopy facts = copy;
    if (!restat) return rows::take_refined(tx, std::move(node), facts, mode, uid, gid);
    const WallNs mtime_ns = node.mtime_ns;
    MEDIAFS_TRY(rows::take_refined(tx, node, facts, node.mode, node.uid, node.gid));
    MEDIAFS_ASSIGN(Node now, Impl::file(tx, id));
    now.mtime_ns = mtime_ns;
    return rows::set_content(tx, now);
  });
}

Status Catalogue::forgotten(std::string_view key) {
  return impl_->write([&](Tx& tx) { return rows::delete_tombstone(tx, key); });
}

}  // namespace mediafs::tier
