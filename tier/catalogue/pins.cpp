// Pins: a mark on a row holds for everything below it, also for what arrives there later.
#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

// When it was last of use; unset for what lacks a copy that it can be evicted for.
Result<std::optional<std::int64_t>> proven_since(sql::Connection& db, std::int64_t id) {
  MEDIAFS_ASSIGN(
      auto query,
      db.prepare("SELECT CASE WHEN n.last_open > 0 THEN n.last_open ELSE l.since END "
                 "FROM node n JOIN copy l ON l.node = n.id AND l.branch = 1 JOIN copy v ON v.node = n.id AND "
                 "v.branch = 2 WHERE n.id = ?1 AND n.kind = 2 AND l.generation = n.generation "
                 "AND v.generation = n.generation AND v.checksum = n.checksum"));
  query.bind(1, id);
  MEDIAFS_ASSIGN(const bool row, query.step());
  return row ? std::optional(query.integer(0)) : std::optional<std::int64_t>{};
}

}  // namespace

// Not one statement: the pins above it would be walked through, in a table made for that, whether it has the copies or
// not.
Status refresh_evictable(Tx& tx, std::int64_t id) {
  MEDIAFS_ASSIGN(auto since, proven_since(tx.db, id));
  bool pinned = false;
  if (since) {
    MEDIAFS_TRY(path_of(tx.db, id, &pinned));
  }
  MEDIAFS_ASSIGN(auto update,
                 tx.db.prepare("UPDATE node SET evict_at = ?2 WHERE id = ?1 AND evict_at IS NOT ?2"));
  update.bind(1, id);
  if (since && !pinned) {
    update.bind(2, *since);
  } else {
    update.bind_null(2);
  }
  return update.run();
}

Status refresh_evictable_below(Tx& tx, const Node& node) {
  if (node.kind == NodeKind::file) return refresh_evictable(tx, node.id);
  MEDIAFS_ASSIGN(const auto files, below(tx.db, node.id, node.path, NodeKind::file));
  for (const FileBelow& file : files) MEDIAFS_TRY(refresh_evictable(tx, file.id));
  return {};
}

namespace {

Status mark(Tx& tx, std::int64_t id, bool pinned) {
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET pinned = ?2 WHERE id = ?1"));
  return update.bind(1, id).bind(2, pinned ? 1 : 0).run();
}

Status clear_marks_below(Tx& tx, std::int64_t id) {
  MEDIAFS_ASSIGN(
      auto clear,
      tx.db.prepare("WITH RECURSIVE down(id) AS (SELECT ?1 UNION ALL SELECT n.id FROM down JOIN node n ON "
                    "n.parent = down.id) UPDATE node SET pinned = 0 WHERE pinned = 1 AND id IN down"));
  return clear.bind(1, id).run();
}

Status pin(Tx& tx, std::string_view path, bool pinned, bool below) {
  MEDIAFS_ASSIGN(auto node, load(tx.db, path));
  if (!node) return not_catalogued(path);
  MEDIAFS_TRY(mark(tx, node->id, pinned));
  if (below) MEDIAFS_TRY(clear_marks_below(tx, node->id));
  MEDIAFS_ASSIGN(node, load(tx.db, node->id));
  if (!pinned && node && node->pinned) {
    return make_error(ErrorCode::invalid, "unpin " + printable(path),
                      "a directory above it is pinned (unpin that one)");
  }
  return refresh_evictable_below(tx, *node);
}

}  // namespace

}  // namespace rows

Status Catalogue::set_pinned(std::string_view path, bool pinned) {
  MEDIAFS_TRY(check_path(path));
  return impl_->write([&](rows::Tx& tx) { return rows::pin(tx, path, pinned, false); });
}

Status Catalogue::unpin_below(std::string_view path) {
  MEDIAFS_TRY(check_path(path));
  return impl_->write([&](rows::Tx& tx) { return rows::pin(tx, path, false, true); });
}

}  // namespace mediafs::tier
