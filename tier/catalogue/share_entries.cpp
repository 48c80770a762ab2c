// What the share showed when it was last listed, a row for each entry. A directory is named by its path, so that the
// rows of a listing lie side by side.
#include <algorithm>
#include <utility>

#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace {

// The directories strictly below `path`, as a range of their paths' bytes: '0' follows '/'.
struct Below {
  explicit Below(std::string_view path) : first(path), end(path) {
    first += '/';
    end += '0';
  }
  std::string first, end;
};

Status forget_below(sql::Connection& db, std::string_view path) {
  const Below below(path);
  MEDIAFS_ASSIGN(auto remove,
                 db.prepare("DELETE FROM share_entry WHERE dir = ?1 OR (dir >= ?2 AND dir < ?3)"));
  return remove.bind_bytes(1, path).bind_bytes(2, below.first).bind_bytes(3, below.end).run();
}

Status forget(sql::Connection& db, std::string_view path) {
  MEDIAFS_ASSIGN(auto remove, db.prepare("DELETE FROM share_entry WHERE dir = ? AND name = ?"));
  MEDIAFS_TRY(remove.bind_bytes(1, parent_path(path)).bind_bytes(2, base_name(path)).run());
  return forget_below(db, path);
}

// mode, uid, gid, size, mtime, inode, from column `first` on
ShareEntry entry_in(const sql::Statement& row, int first, std::string name) {
  ShareEntry entry;
  entry.name = std::move(name);
  entry.mode = static_cast<std::uint32_t>(row.integer(first));
  entry.uid = static_cast<std::uint32_t>(row.integer(first + 1));
  entry.gid = static_cast<std::uint32_t>(row.integer(first + 2));
  entry.size_bytes = static_cast<std::uint64_t>(row.integer(first + 3));
  entry.mtime_ns = row.integer(first + 4);
  entry.inode = static_cast<std::uint64_t>(row.integer(first + 5));
  return entry;
}

Result<std::vector<ShareEntry>> entries_of(sql::Connection& db, std::string_view dir) {
  std::vector<ShareEntry> entries;
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT name, mode, uid, gid, size, mtime, inode FROM share_entry "
                                        "WHERE dir = ? ORDER BY name"));
  query.bind_bytes(1, dir);
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return entries;
    entries.push_back(entry_in(query, 1, query.text(0)));
  }
}

Status put(sql::Connection& db, std::string_view dir, const ShareEntry& entry) {
  MEDIAFS_ASSIGN(auto insert, db.prepare("INSERT OR REPLACE INTO share_entry "
                                         "(dir, name, mode, uid, gid, size, mtime, inode) "
                                         "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  insert.bind_bytes(1, dir).bind_bytes(2, entry.name).bind(3, entry.mode).bind(4, entry.uid);
  insert.bind(5, entry.gid).bind(6, static_cast<std::int64_t>(entry.size_bytes)).bind(7, entry.mtime_ns);
  return insert.bind(8, static_cast<std::int64_t>(entry.inode)).run();
}

// Both lists are in the order of their names' bytes.
Status replace_listing(sql::Connection& db, std::string_view dir, const std::vector<ShareEntry>& now) {
  MEDIAFS_ASSIGN(const auto had, entries_of(db, dir));
  auto old = had.begin();
  for (const ShareEntry& entry : now) {
    for (; old != had.end() && old->name < entry.name; ++old) {
      MEDIAFS_TRY(forget(db, join_path(dir, old->name)));
    }
    const bool known = old != had.end() && old->name == entry.name;
    if (known && old->is_directory() && !entry.is_directory()) {
      MEDIAFS_TRY(forget_below(db, join_path(dir, entry.name)));
    }
    if (!known || *old != entry) MEDIAFS_TRY(put(db, dir, entry));
    if (known) ++old;
  }
  for (; old != had.end(); ++old) MEDIAFS_TRY(forget(db, join_path(dir, old->name)));
  return {};
}

}  // namespace

Result<std::vector<ShareEntry>> Catalogue::share_entries(std::string_view dir) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.now());
  return entries_of(lease.db(), dir);
}

Result<std::optional<ShareEntry>> Catalogue::share_entry(std::string_view path) {
  MEDIAFS_ASSIGN(auto lease, impl_->readers.now());
  MEDIAFS_ASSIGN(auto query, lease.db().prepare("SELECT mode, uid, gid, size, mtime, inode FROM share_entry "
                                                "WHERE dir = ? AND name = ?"));
  query.bind_bytes(1, parent_path(path)).bind_bytes(2, base_name(path));
  MEDIAFS_ASSIGN(const bool row, query.step());
  if (!row) return std::optional<ShareEntry>{};
  return std::optional(entry_in(query, 0, std::string(base_name(path))));
}

Status Catalogue::remember_share(std::string_view dir, std::vector<ShareEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const ShareEntry& a, const ShareEntry& b) { return a.name < b.name; });
  {
    MEDIAFS_ASSIGN(auto lease, impl_->readers.now());
    MEDIAFS_ASSIGN(const auto had, entries_of(lease.db(), dir));
    if (had == entries) return {};
  }
  return impl_->write([&](rows::Tx& tx) { return replace_listing(tx.db, dir, entries); });
}

Status Catalogue::forget_share(std::string_view path) {
  return impl_->write([&](rows::Tx& tx) { return forget(tx.db, path); });
}

Status Catalogue::share_renamed(std::string_view from, std::string_view to) {
  return impl_->write([&](rows::Tx& tx) -> Status {
    MEDIAFS_TRY(forget(tx.db, to));
    MEDIAFS_ASSIGN(auto move, tx.db.prepare("UPDATE OR REPLACE share_entry SET dir = ?, name = ? "
                                            "WHERE dir = ? AND name = ?"));
    move.bind_bytes(1, parent_path(to)).bind_bytes(2, base_name(to));
    MEDIAFS_TRY(move.bind_bytes(3, parent_path(from)).bind_bytes(4, base_name(from)).run());
    const Below below(from);
    MEDIAFS_ASSIGN(auto follow, tx.db.prepare("UPDATE OR REPLACE share_entry SET "
                                              "dir = CAST(?1 || substr(dir, ?2) AS BLOB) "
                                              "WHERE dir = ?3 OR (dir >= ?4 AND dir < ?5)"));
    follow.bind_bytes(1, to).bind(2, static_cast<std::int64_t>(from.size()) + 1).bind_bytes(3, from);
    return follow.bind_bytes(4, below.first).bind_bytes(5, below.end).run();
  });
}

}  // namespace mediafs::tier
