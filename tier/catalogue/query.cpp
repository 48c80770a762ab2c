#include <algorithm>

#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

Result<std::string> setting(sql::Connection& db, std::string_view name) {
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT value FROM setting WHERE name = ?"));
  query.bind_text(1, name);
  MEDIAFS_ASSIGN(const bool row, query.step());
  return row ? query.text(0) : std::string();
}

Status set_setting(Tx& tx, std::string_view name, std::string_view value) {
  MEDIAFS_ASSIGN(auto put, tx.db.prepare("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)"));
  return put.bind_text(1, name).bind_text(2, value).run();
}

// A catalogue that was rebuilt counts on from a number above all that were told before.
Result<std::int64_t> newest_version(sql::Connection& db) {
  MEDIAFS_ASSIGN(auto query,
                 db.prepare("SELECT max(coalesce((SELECT max(version) FROM change), 0), coalesce((SELECT "
                            "CAST(value AS INTEGER) FROM setting WHERE name = 'version.base'), 0))"));
  MEDIAFS_ASSIGN(const bool row, query.step());
  return row ? query.integer(0) : 0;
}

Status lift_version(Tx& tx, std::int64_t floor) {
  MEDIAFS_ASSIGN(const std::int64_t newest, newest_version(tx.db));
  if (floor <= newest) return {};
  tx.version = floor;
  return set_setting(tx, "version.base", std::to_string(floor));
}

namespace {

struct WalkEntry {
  std::int64_t id = 0;
  std::string path;
  bool directory = false;
  // Directories sort as if their name ended in a slash: so the walk's order is that of the whole paths'
  // bytes.
  std::string order() const { return directory ? path + '/' : path; }
};

// The children of a directory, last first, without those that lie wholly at or before `after`.
Result<std::vector<WalkEntry>> entries_after(sql::Connection& db, std::int64_t id, std::string_view path,
                                             std::string_view after) {
  std::vector<WalkEntry> entries;
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT id, name, kind FROM node WHERE parent = ?"));
  query.bind(1, id);
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) break;
    WalkEntry entry{query.integer(0), join_path(path, query.view(1)),
                    static_cast<NodeKind>(query.integer(2)) == NodeKind::directory};
    const std::string order = entry.order();
    if (order > after || (entry.directory && after.starts_with(order))) entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const WalkEntry& a, const WalkEntry& b) { return b.order() < a.order(); });
  return entries;
}

Result<std::vector<Node>> walk_files(sql::Connection& db, std::string_view dir, std::string_view after,
                                     std::size_t limit) {
  std::vector<Node> files;
  MEDIAFS_ASSIGN(const auto top, load(db, dir));
  if (!top) return files;
  std::vector<WalkEntry> stack{{top->id, top->path, top->kind == NodeKind::directory}};
  while (!stack.empty() && files.size() < limit) {
    const WalkEntry entry = std::move(stack.back());
    stack.pop_back();
    if (entry.directory) {
      MEDIAFS_ASSIGN(auto entries, entries_after(db, entry.id, entry.path, after));
      std::move(entries.begin(), entries.end(), std::back_inserter(stack));
    } else if (entry.path > after) {
      MEDIAFS_ASSIGN(auto node, load(db, entry.id));
      if (node) files.push_back(std::move(*node));
    }
  }
  return files;
}

Result<BranchTotals> count(sql::Connection& db, std::string_view query_text) {
  MEDIAFS_ASSIGN(auto query, db.prepare(query_text));
  MEDIAFS_ASSIGN(const bool row, query.step());
  if (!row) return BranchTotals{};
  return BranchTotals{static_cast<std::uint64_t>(query.integer(0)),
                      static_cast<std::uint64_t>(query.integer(1))};
}

Result<Totals> count_all(sql::Connection& db) {
  Totals totals;
  MEDIAFS_ASSIGN(totals.local,
                 count(db,
                       "SELECT count(*), coalesce(sum(l.size), 0) FROM copy l JOIN node n ON n.id = "
                       "l.node WHERE l.branch = 1 AND n.kind = 2"));
  MEDIAFS_ASSIGN(
      totals.vault,
      count(db, "SELECT count(*), coalesce(sum(size), 0) FROM copy WHERE branch = 2 AND lost = 0"));
  MEDIAFS_ASSIGN(
      totals.lost,
      count(db, "SELECT count(*), coalesce(sum(size), 0) FROM copy WHERE branch = 2 AND lost <> 0"));
  MEDIAFS_ASSIGN(
      totals.dirty,
      count(db,
            "SELECT count(*), coalesce(sum(n.size), 0) FROM node n JOIN copy l ON l.node = n.id AND "
            "l.branch = 1 LEFT JOIN copy v ON v.node = n.id AND v.branch = 2 WHERE n.kind = 2 AND "
            "(v.generation IS NULL OR v.generation <> n.generation)"));
  MEDIAFS_ASSIGN(
      totals.pinned,
      count(db,
            "WITH RECURSIVE held(id, kind, size) AS (SELECT id, kind, size FROM node WHERE pinned = 1 "
            "UNION SELECT n.id, n.kind, n.size FROM held JOIN node n ON n.parent = held.id WHERE "
            "held.kind = 1) SELECT count(*), coalesce(sum(size), 0) FROM held WHERE kind = 2"));
  MEDIAFS_ASSIGN(
      totals.escaped,
      count(db,
            "WITH RECURSIVE held(id, kind, size) AS (SELECT id, kind, size FROM node WHERE instr(name, "
            "x'E2809B7B') > 0 UNION SELECT n.id, n.kind, n.size FROM held JOIN node n ON n.parent = held.id "
            "WHERE held.kind = 1) SELECT count(*), coalesce(sum(size), 0) FROM held WHERE kind = 2"));
  MEDIAFS_ASSIGN(totals.evictable,
                 count(db, "SELECT count(*), coalesce(sum(size), 0) FROM node WHERE evict_at IS NOT NULL"));
  MEDIAFS_ASSIGN(totals.trash,
                 count(db, "SELECT count(*), coalesce(sum(size), 0) FROM trash WHERE state <> 3"));
  MEDIAFS_ASSIGN(
      auto oldest,
      db.prepare("SELECT min(l.since) FROM node n JOIN copy l ON l.node = n.id AND l.branch = 1 LEFT JOIN "
                 "copy v ON v.node = n.id AND v.branch = 2 WHERE n.kind = 2 AND (v.generation IS NULL OR "
                 "v.generation <> n.generation)"));
  MEDIAFS_ASSIGN(const bool row, oldest.step());
  if (row) totals.oldest_dirty_ns = oldest.integer(0);
  return totals;
}

Result<std::vector<Change>> read_changes(sql::Connection& db, std::int64_t since, std::size_t limit,
                                         bool newest_first) {
  std::vector<Change> changes;
  MEDIAFS_ASSIGN(
      auto query,
      newest_first ? db.prepare("SELECT version, kind, path, origin, at FROM change WHERE version > ? ORDER "
                                "BY version DESC LIMIT ?")
                   : db.prepare("SELECT version, kind, path, origin, at FROM change WHERE version > ? ORDER "
                                "BY version LIMIT ?"));
  query.bind(1, since).bind(2, static_cast<std::int64_t>(limit));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return changes;
    changes.push_back({.version = query.integer(0),
                       .kind = static_cast<ChangeKind>(query.integer(1)),
                       .path = query.text(2),
                       .from = query.text(3),
                       .at_ns = query.integer(4)});
  }
}

}  // namespace

}  // namespace rows

Result<std::optional<Node>> Catalogue::find(std::string_view path) {
  MEDIAFS_TRY(check_path(path));
  // What comes between this look and the snapshot is another caller's, at the same time: either order will do.
  const Later::Touch touch = impl_->pending(path);
  const bool unknown = touch == Later::Touch::none && impl_->writer && !impl_->names.may_have(path);
  if (unknown || touch == Later::Touch::gone) return std::optional<Node>{};
  if (touch == Later::Touch::none || touch == Later::Touch::within) {
    MEDIAFS_ASSIGN(auto lease, impl_->readers.now());
    MEDIAFS_ASSIGN(auto node, rows::load(lease.db(), path, &lease.directories()));
    // A directory's row is the same before and after what becomes of the files in it.
    const bool settled = touch == Later::Touch::none || (node && node->kind == NodeKind::directory);
    if (settled) return node;
  }
  MEDIAFS_ASSIGN(auto lease, impl_->readers.at_once());
  return rows::load(lease.db(), path, &lease.directories());
}

Result<std::optional<Node>> Catalogue::find(std::int64_t id) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::load(lease.db(), id);
}

Result<std::optional<Node>> Catalogue::find_inode(std::uint64_t device, std::uint64_t inode) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(const auto ids, rows::by_inode(lease.db(), device, inode));
  return rows::load(lease.db(), ids.empty() ? 0 : ids.front());
}

// Bytes newer than the vault's were lost with the SSD's copy: what the vault has is what there is.
Shown shown_of(const Node& node) {
  const bool older = node.vault && node.vault->generation != node.generation;
  return {.kind = node.kind,
          .mode = node.mode,
          .uid = node.uid,
          .gid = node.gid,
          .size_bytes = older ? node.vault->size_bytes : node.size_bytes,
          .mtime_ns = node.mtime_ns,
          .last_open_ns = node.last_open_ns,
          .inode = node.inode};
}

std::uint64_t Catalogue::moment() const {
  return impl_->writer ? impl_->writer->moment() : 0;
}

Result<std::vector<DirEntry>> Catalogue::list(std::string_view dir) {
  MEDIAFS_TRY(check_path(dir));
  std::vector<DirEntry> entries;
  const bool touched = impl_->writer && impl_->writer->pending().lists(dir);
  MEDIAFS_ASSIGN(auto lease, touched ? impl_->readers.at_once() : impl_->readers.now());
  MEDIAFS_ASSIGN(const std::int64_t id, rows::resolve(lease.db(), dir));
  if (id == 0) return entries;
  MEDIAFS_ASSIGN(auto query,
                 lease.db().prepare(
                     "SELECT n.name, n.kind, n.mode, n.uid, n.gid, CASE WHEN v.generation <> n.generation "
                     "THEN v.size ELSE n.size END, n.mtime, n.last_open, n.inode, EXISTS (SELECT 1 FROM copy "
                     "WHERE node = n.id AND branch = 1), v.node IS NOT NULL FROM node n LEFT JOIN copy v ON "
                     "v.node = n.id AND v.branch = 2 WHERE n.parent = ? ORDER BY n.name"));
  query.bind(1, id);
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return entries;
    DirEntry entry{.name = query.text(0),
                   .shown = {.kind = static_cast<NodeKind>(query.integer(1)),
                             .mode = static_cast<std::uint32_t>(query.integer(2)),
                             .uid = static_cast<std::uint32_t>(query.integer(3)),
                             .gid = static_cast<std::uint32_t>(query.integer(4)),
                             .size_bytes = static_cast<std::uint64_t>(query.integer(5)),
                             .mtime_ns = query.integer(6),
                             .last_open_ns = query.integer(7),
                             .inode = static_cast<std::uint64_t>(query.integer(8))},
                   .has_local = query.integer(9) != 0,
                   .has_vault = query.integer(10) != 0};
    // Objects have no directories: one that is not on the disk is there for the vault's sake.
    if (entry.shown.kind == NodeKind::directory) entry.has_vault = !entry.has_local;
    entries.push_back(std::move(entry));
  }
}

Result<std::vector<Node>> Catalogue::walk(std::string_view dir, std::string_view after, std::size_t limit) {
  MEDIAFS_TRY(check_path(dir));
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::walk_files(lease.db(), dir, after, limit);
}

Result<bool> Catalogue::is_tombstoned(std::string_view key) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::tombstoned(lease.db(), key);
}

Result<bool> Catalogue::key_in_use(std::string_view key) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::key_in_use(lease.db(), key);
}

Result<std::int64_t> Catalogue::key_owner(std::string_view key) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::object_owner(lease.db(), key, 0);
}

Result<Totals> Catalogue::totals() {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::count_all(lease.db());
}

Result<std::vector<Node>> Catalogue::evictable(std::size_t limit, EvictCursor* cursor) {
  EvictCursor from;
  if (cursor == nullptr) cursor = &from;
  if (impl_->writer && *cursor == EvictCursor{}) MEDIAFS_TRY(impl_->writer->flush_opened());
  std::vector<Node> files;
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  MEDIAFS_ASSIGN(auto query,
                 lease.db().prepare("SELECT id, evict_at FROM node WHERE evict_at IS NOT NULL AND (evict_at, "
                                    "id) > (?, ?) ORDER BY evict_at, id LIMIT ?"));
  query.bind(1, cursor->at_ns).bind(2, cursor->id).bind(3, static_cast<std::int64_t>(limit));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return files;
    *cursor = {.at_ns = query.integer(1), .id = query.integer(0)};
    MEDIAFS_ASSIGN(auto node, rows::load(lease.db(), cursor->id));
    if (node) files.push_back(std::move(*node));
  }
}

std::int64_t Catalogue::version() {
  if (impl_->writer) {
    if (const Status flushed = impl_->writer->flush_pending(Writer::Haste::patient); !flushed)
      log::warning("the data version may lag behind", flushed.err());
    return impl_->writer->version();
  }
  auto lease = impl_->readers.lease();
  if (!lease) return 0;
  return rows::newest_version(lease->db()).value_or(0);
}

Result<std::vector<Change>> Catalogue::changes(std::int64_t since, std::size_t limit, bool newest_first) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::read_changes(lease.db(), since, limit, newest_first);
}

Result<std::string> Catalogue::setting(std::string_view name) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.lease());
  return rows::setting(lease.db(), name);
}

}  // namespace mediafs::tier
