// What the vault has lost, or was replaced by an empty one: a file whose only copy that was stays listed.
#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

constexpr std::size_t kRowsAtOnce = 1000;

Status mark_lost(Tx& tx, std::int64_t id) {
  {
    MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE copy SET lost = 1 WHERE node = ? AND branch = 2"));
    MEDIAFS_TRY(update.bind(1, id).run());
  }
  return refresh_evictable(tx, id);
}

Result<std::vector<std::int64_t>> held_in_vault(sql::Connection& db) {
  std::vector<std::int64_t> ids;
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT node FROM copy WHERE branch = 2 AND lost = 0 LIMIT ?"));
  query.bind(1, static_cast<std::int64_t>(kRowsAtOnce));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return ids;
    ids.push_back(query.integer(0));
  }
}

}  // namespace

Status take_loss(Tx& tx, Node node, const std::string& key) {
  if (!node.vault || node.vault->key != key) return {};
  if (!node.local) return mark_lost(tx, node.id);
  MEDIAFS_TRY(delete_copy(tx, node.id, kVaultBranch));
  node.vault.reset();
  if (!node.checksum) return enqueue_for(tx, kStageChecksum, node);
  return tx.has_vault ? enqueue_for(tx, kStageUpload, node) : Status{};
}

namespace {

Status lose_all(Tx& tx, const std::vector<std::int64_t>& ids) {
  for (const std::int64_t id : ids) {
    MEDIAFS_ASSIGN(auto node, load(tx.db, id));
    if (!node || !node->vault) continue;
    const std::string key = node->vault->key;
    MEDIAFS_TRY(take_loss(tx, std::move(*node), key));
  }
  return {};
}

}  // namespace

// Other content than what was lost is what the file has from now on, as with any object that only the vault has.
Status take_found(Tx& tx, const Node& node, VaultCopy copy) {
  const bool other = copy.size_bytes != node.vault->size_bytes ||
                     (copy.checksum && node.vault->checksum && copy.checksum != node.vault->checksum);
  if (other) return follow_vault(tx, node, copy, true);
  return put_vault(tx, node.id, copy, node.vault->generation);
}

}  // namespace rows

using rows::Tx;

Status Catalogue::vault_lost(std::int64_t id, const std::string& key) {
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(auto node, rows::load(tx.db, id));
    return node ? rows::take_loss(tx, std::move(*node), key) : Status{};
  });
}

Status Catalogue::vault_found(std::int64_t id, const VaultCopy& copy) {
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(const auto node, rows::load(tx.db, id));
    if (!node || !node->vault || !node->vault->lost || node->path != copy.key) return {};
    return rows::take_found(tx, *node, copy);
  });
}

// In transactions of bounded size, so that nobody waits long for the writer. Killed in between it goes on when the
// new vault is accepted again.
Status Catalogue::vault_replaced() {
  MEDIAFS_TRY(set_setting(kVaultListed, ""));
  MEDIAFS_TRY(set_setting(kVaultListedTo, ""));
  MEDIAFS_TRY(set_setting(kTrashListed, ""));
  // What the old vault's trash held is not here; what this one's holds is found by its keys. Nor is what was to be
  // forgotten there: an equal key of this one is somebody else's object. A renamed file's old key stays: it may be found there.
  MEDIAFS_TRY(impl_->write([](Tx& tx) {
    return tx.db.execute(
        "DELETE FROM trash;"
        "DELETE FROM tombstone WHERE key NOT IN (SELECT key FROM copy WHERE branch = 2);"
        "DELETE FROM job WHERE stage = 'forget' AND state <> 2 AND path NOT IN (SELECT key FROM copy WHERE "
        "branch = 2)");
  }));
  for (bool more = true; more;) {
    Status taken = impl_->write([&](Tx& tx) -> Status {
      MEDIAFS_ASSIGN(const auto ids, rows::held_in_vault(tx.db));
      more = !ids.empty();
      return rows::lose_all(tx, ids);
    });
    if (!taken) return taken;
  }
  return {};
}

Result<std::vector<VaultFile>> Catalogue::vault_sample(std::size_t limit) {
  std::vector<VaultFile> files;
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(auto query,
                 lease.db().prepare("SELECT key, size, mtime, etag FROM copy WHERE branch = 2 AND lost = 0 "
                                    "ORDER BY since DESC, node LIMIT ?"));
  query.bind(1, static_cast<std::int64_t>(limit));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return files;
    files.push_back(
        {query.text(0), static_cast<std::uint64_t>(query.integer(1)), query.integer(2), query.text(3)});
  }
}

}  // namespace mediafs::tier
