#include <algorithm>

#include "common/path.h"
#include "tier/catalogue/internal.h"

namespace mediafs::tier::rows {

namespace {

constexpr const char* kNodeSql =
    "SELECT n.id, n.kind, n.generation, n.size, n.mtime, n.mode, n.uid, n.gid, n.inode, n.checksum, n.sha1, "
    "n.last_open, n.pinned, l.generation, l.size, l.mtime, l.ctime, l.device, l.inode, l.since, "
    "v.key, v.size, v.mtime, v.etag, v.generation, v.checksum, v.since, v.lost "
    "FROM node n LEFT JOIN copy l ON l.node = n.id AND l.branch = 1 "
    "LEFT JOIN copy v ON v.node = n.id AND v.branch = 2 WHERE n.id = ?";

std::uint64_t unsigned_column(const sql::Statement& row, int column) {
  return static_cast<std::uint64_t>(row.integer(column));
}

std::uint32_t small_column(const sql::Statement& row, int column) {
  return static_cast<std::uint32_t>(row.integer(column));
}

LocalCopy local_columns(const sql::Statement& row, int c) {
  LocalCopy copy;
  copy.generation = row.integer(c);
  copy.fingerprint = {.size_bytes = unsigned_column(row, c + 1),
                      .mtime_ns = row.integer(c + 2),
                      .ctime_ns = row.integer(c + 3),
                      .device = unsigned_column(row, c + 4),
                      .inode = unsigned_column(row, c + 5)};
  copy.since_ns = row.integer(c + 6);
  return copy;
}

VaultCopy vault_columns(const sql::Statement& row, int c) {
  VaultCopy copy;
  copy.key = row.text(c);
  copy.size_bytes = unsigned_column(row, c + 1);
  copy.mtime_ns = row.integer(c + 2);
  copy.etag = row.text(c + 3);
  copy.generation = row.integer(c + 4);
  copy.checksum = checksum_column(row, c + 5);
  copy.since_ns = row.integer(c + 6);
  copy.lost = row.integer(c + 7) != 0;
  return copy;
}

Node node_columns(const sql::Statement& row) {
  Node node;
  node.id = row.integer(0);
  node.kind = static_cast<NodeKind>(row.integer(1));
  node.generation = row.integer(2);
  node.size_bytes = unsigned_column(row, 3);
  node.mtime_ns = row.integer(4);
  node.mode = small_column(row, 5);
  node.uid = small_column(row, 6);
  node.gid = small_column(row, 7);
  node.inode = unsigned_column(row, 8);
  node.checksum = checksum_column(row, 9);
  node.sha1_hex = row.text(10);
  node.last_open_ns = row.integer(11);
  node.pinned = row.integer(12) != 0;
  if (!row.is_null(13)) node.local = local_columns(row, 13);
  if (!row.is_null(20)) node.vault = vault_columns(row, 20);
  return node;
}

Status bind_checksum(sql::Statement& statement, int index, const std::optional<Xxh128>& checksum) {
  if (checksum) {
    statement.bind_blob(index, *checksum);
  } else {
    statement.bind_null(index);
  }
  return {};
}

}  // namespace

std::optional<Xxh128> checksum_column(const sql::Statement& row, int column) {
  const std::string_view bytes = row.view(column);
  Xxh128 checksum{};
  if (bytes.size() != checksum.size()) return std::nullopt;
  std::transform(bytes.begin(), bytes.end(), checksum.begin(),
                 [](char c) { return static_cast<std::uint8_t>(c); });
  return checksum;
}

std::uint32_t permission_bits(const struct stat& st) {
  return st.st_mode & 07777U;
}

Error not_catalogued(std::string_view path) {
  return make_error(ErrorCode::not_found, printable(path), "no such file in the catalogue");
}

Error gone(std::int64_t id) {
  return make_error(ErrorCode::not_found, "file " + std::to_string(id), "no longer in the catalogue");
}

namespace {

Result<Place> child_of(sql::Connection& db, const Place& parent, std::string_view name) {
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT id, kind, pinned FROM node WHERE parent = ? AND name = ?"));
  query.bind(1, parent.id).bind_bytes(2, name);
  MEDIAFS_ASSIGN(const bool row, query.step());
  if (!row) return Place{};
  return Place{.id = query.integer(0),
               .directory = static_cast<NodeKind>(query.integer(1)) == NodeKind::directory,
               .pinned = parent.pinned || query.integer(2) != 0};
}

Result<Place> descend(sql::Connection& db, std::string_view path) {
  Place at{kRootId};
  {
    MEDIAFS_ASSIGN(auto root, db.prepare("SELECT pinned FROM node WHERE id = 1"));
    MEDIAFS_ASSIGN(const bool row, root.step());
    at.pinned = row && root.integer(0) != 0;
  }
  while (!path.empty() && at.id != 0) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    MEDIAFS_ASSIGN(at, child_of(db, at, path.substr(0, slash)));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return at;
}

Result<Place> descend(sql::Connection& db, std::string_view path, Directories& known) {
  constexpr std::size_t kMost = 1000;
  if (path.empty()) return descend(db, path);
  std::string above(parent_path(path));
  auto found = known.find(above);
  if (found == known.end()) {
    MEDIAFS_ASSIGN(const Place place, descend(db, above));
    if (place.id == 0) return place;
    if (known.size() >= kMost) known.clear();
    found = known.emplace(std::move(above), place).first;
  }
  return child_of(db, found->second, base_name(path));
}

Result<std::optional<Node>> load_row(sql::Connection& db, std::int64_t id) {
  MEDIAFS_ASSIGN(auto query, db.prepare(kNodeSql));
  query.bind(1, id);
  MEDIAFS_ASSIGN(const bool row, query.step());
  if (!row) return std::optional<Node>{};
  return std::optional<Node>(node_columns(query));
}

}  // namespace

Result<std::int64_t> resolve(sql::Connection& db, std::string_view path) {
  MEDIAFS_ASSIGN(const Place found, descend(db, path));
  return found.id;
}

Result<std::string> path_of(sql::Connection& db, std::int64_t id, bool* pinned) {
  std::string path;
  while (id != kRootId || pinned != nullptr) {
    MEDIAFS_ASSIGN(auto query, db.prepare("SELECT parent, name, pinned FROM node WHERE id = ?"));
    query.bind(1, id);
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row)
      return make_error(ErrorCode::corrupt, "catalogue", "row " + std::to_string(id) + " has no parent");
    if (pinned != nullptr) *pinned = *pinned || query.integer(2) != 0;
    if (id == kRootId) break;
    path = path.empty() ? query.text(1) : join_path(query.view(1), path);
    id = query.integer(0);
  }
  return path;
}

Result<std::optional<Node>> load(sql::Connection& db, std::int64_t id) {
  if (id == 0) return std::optional<Node>{};
  MEDIAFS_ASSIGN(auto node, load_row(db, id));
  if (node) {
    MEDIAFS_ASSIGN(node->path, path_of(db, id, &node->pinned));
  }
  return node;
}

Result<std::optional<Node>> load(sql::Connection& db, std::string_view path, Directories* known) {
  MEDIAFS_ASSIGN(const Place found, known ? descend(db, path, *known) : descend(db, path));
  if (found.id == 0) return std::optional<Node>{};
  MEDIAFS_ASSIGN(auto node, load_row(db, found.id));
  if (node) {
    node->path = path;
    node->pinned = found.pinned;
  }
  return node;
}

Result<bool> has_children(sql::Connection& db, std::int64_t id) {
  MEDIAFS_ASSIGN(auto query, db.prepare("SELECT 1 FROM node WHERE parent = ? LIMIT 1"));
  query.bind(1, id);
  return query.step();
}

Result<std::vector<std::int64_t>> by_inode(sql::Connection& db, std::uint64_t device, std::uint64_t inode) {
  std::vector<std::int64_t> ids;
  MEDIAFS_ASSIGN(
      auto query,
      db.prepare("SELECT node FROM copy WHERE branch = 1 AND device = ? AND inode = ? ORDER BY node"));
  query.bind(1, static_cast<std::int64_t>(device)).bind(2, static_cast<std::int64_t>(inode));
  for (;;) {
    MEDIAFS_ASSIGN(const bool row, query.step());
    if (!row) return ids;
    ids.push_back(query.integer(0));
  }
}

Result<std::int64_t> ensure_directory(Tx& tx, std::string_view path) {
  MEDIAFS_ASSIGN(const Place found, descend(tx.db, path));
  if (found.id != 0 && found.directory) return found.id;
  if (found.id != 0) {
    return make_error(ErrorCode::not_directory, printable(path),
                      "the catalogue has a file of this name: rename or remove one of the two");
  }
  Node directory;
  directory.kind = NodeKind::directory;
  directory.mode = 0755;
  return insert_node(tx, path, directory);
}

Result<std::int64_t> insert_node(Tx& tx, std::string_view path, const Node& node) {
  MEDIAFS_ASSIGN(const std::int64_t parent, ensure_directory(tx, parent_path(path)));
  if (tx.names != nullptr) tx.names->add(path);
  std::int64_t id = 0;
  {
    MEDIAFS_ASSIGN(
        auto insert,
        tx.db.prepare("INSERT INTO node (parent, name, kind, generation, size, mtime, mode, uid, gid, "
                      "inode, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    insert.bind(1, parent).bind_bytes(2, base_name(path)).bind(3, static_cast<std::int64_t>(node.kind));
    insert.bind(4, node.generation)
        .bind(5, static_cast<std::int64_t>(node.size_bytes))
        .bind(6, node.mtime_ns);
    insert.bind(7, node.mode)
        .bind(8, node.uid)
        .bind(9, node.gid)
        .bind(10, static_cast<std::int64_t>(node.inode));
    MEDIAFS_TRY(bind_checksum(insert, 11, node.checksum));
    MEDIAFS_TRY(insert.run());
    id = tx.db.last_insert_id();
  }
  if (node.inode == 0) {
    MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET inode = ?2 WHERE id = ?1"));
    MEDIAFS_TRY(update.bind(1, id).bind(2, static_cast<std::int64_t>(kOwnInodes) + id).run());
  }
  return id;
}

std::uint64_t PromisedInodes::find(std::uint64_t device, std::uint64_t inode) const {
  MutexLock lock(mutex_);
  const auto at = shown_.find({device, inode});
  return at == shown_.end() ? 0 : at->second;
}

// Kept after the row has the number: a file that is gone by then does no harm, since no row is given a number twice.
void PromisedInodes::add(std::uint64_t device, std::uint64_t inode, std::uint64_t shown) {
  constexpr std::size_t kMost = 65536;
  MutexLock lock(mutex_);
  if (shown_.size() >= kMost) shown_.clear();
  shown_[{device, inode}] = shown;
}

// Hard links share a number: a row of the same local file does not keep it from its other names.
Result<std::uint64_t> choose_inode(sql::Connection& db, const Fingerprint& fingerprint, std::int64_t id,
                                   const PromisedInodes* promised) {
  MEDIAFS_ASSIGN(
      auto query,
      db.prepare("SELECT 1 FROM node n WHERE n.inode = ?1 AND n.id <> ?4 AND NOT EXISTS (SELECT 1 FROM "
                 "copy l WHERE l.node = n.id AND l.branch = 1 AND l.device = ?2 AND l.inode = ?3)"));
  const auto kept = [&](std::uint64_t number) -> Result<bool> {
    query.reset();
    query.bind(1, static_cast<std::int64_t>(number)).bind(2, static_cast<std::int64_t>(fingerprint.device));
    query.bind(3, static_cast<std::int64_t>(fingerprint.inode)).bind(4, id);
    return query.step();
  };
  if (const std::uint64_t number =
          promised == nullptr ? 0 : promised->find(fingerprint.device, fingerprint.inode)) {
    MEDIAFS_ASSIGN(const bool taken, kept(number));
    if (!taken) return number;
  }
  constexpr std::uint64_t kLives = 256;
  constexpr unsigned kLifeShift = 52;
  const std::uint64_t low = fingerprint.inode & ((1ULL << kLifeShift) - 1);
  for (std::uint64_t life = 0; life < kLives; ++life) {
    const std::uint64_t number = life == 0 ? fingerprint.inode : kReusedInodes | life << kLifeShift | low;
    MEDIAFS_ASSIGN(const bool taken, kept(number));
    if (!taken) return number;
  }
  return 0;
}

Status give_inode(Tx& tx, std::int64_t id, const Fingerprint& fingerprint) {
  MEDIAFS_ASSIGN(const std::uint64_t inode, choose_inode(tx.db, fingerprint, id, tx.promised));
  if (inode == 0) return {};
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET inode = ?2 WHERE id = ?1"));
  return update.bind(1, id).bind(2, static_cast<std::int64_t>(inode)).run();
}

Status delete_node(Tx& tx, std::int64_t id) {
  {
    MEDIAFS_ASSIGN(auto copies, tx.db.prepare("DELETE FROM copy WHERE node = ?"));
    MEDIAFS_TRY(copies.bind(1, id).run());
  }
  MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM node WHERE id = ?"));
  return remove.bind(1, id).run();
}

Status put_local(Tx& tx, std::int64_t id, const Fingerprint& fingerprint, std::int64_t generation) {
  MEDIAFS_ASSIGN(
      auto put,
      tx.db.prepare("INSERT INTO copy (node, branch, generation, size, mtime, ctime, device, inode, since) "
                    "VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (node, branch) DO UPDATE SET "
                    "since = CASE WHEN generation = ?2 THEN since ELSE ?8 END, "
                    "generation = ?2, size = ?3, mtime = ?4, ctime = ?5, device = ?6, inode = ?7"));
  put.bind(1, id).bind(2, generation).bind(3, static_cast<std::int64_t>(fingerprint.size_bytes));
  put.bind(4, fingerprint.mtime_ns).bind(5, fingerprint.ctime_ns);
  put.bind(6, static_cast<std::int64_t>(fingerprint.device))
      .bind(7, static_cast<std::int64_t>(fingerprint.inode));
  MEDIAFS_TRY(put.bind(8, tx.now_ns).run());
  {  // the bytes are here again: what was lost is no longer
    MEDIAFS_ASSIGN(auto remove,
                   tx.db.prepare("DELETE FROM copy WHERE node = ? AND branch = 2 AND lost <> 0"));
    MEDIAFS_TRY(remove.bind(1, id).run());
  }
  return refresh_evictable(tx, id);
}

Status put_vault(Tx& tx, std::int64_t id, const VaultCopy& copy, std::int64_t generation) {
  {
    MEDIAFS_ASSIGN(
        auto put,
        tx.db.prepare(
            "INSERT INTO copy (node, branch, generation, size, mtime, key, etag, checksum, since) "
            "VALUES (?1, 2, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (node, branch) DO UPDATE SET "
            "since = CASE WHEN generation = ?2 AND checksum IS ?7 THEN since ELSE ?8 END, "
            "generation = ?2, size = ?3, mtime = ?4, key = ?5, etag = ?6, checksum = ?7, lost = 0"));
    put.bind(1, id)
        .bind(2, generation)
        .bind(3, static_cast<std::int64_t>(copy.size_bytes))
        .bind(4, copy.mtime_ns);
    put.bind_bytes(5, copy.key).bind_text(6, copy.etag);
    MEDIAFS_TRY(bind_checksum(put, 7, copy.checksum));
    MEDIAFS_TRY(put.bind(8, tx.now_ns).run());
  }
  MEDIAFS_TRY(reclaim_from_trash(tx, copy.key));
  return refresh_evictable(tx, id);
}

Status delete_copy(Tx& tx, std::int64_t id, std::int64_t branch) {
  {
    MEDIAFS_ASSIGN(auto remove, tx.db.prepare("DELETE FROM copy WHERE node = ? AND branch = ?"));
    MEDIAFS_TRY(remove.bind(1, id).bind(2, branch).run());
  }
  return refresh_evictable(tx, id);
}

Result<std::vector<FileBelow>> below(sql::Connection& db, std::int64_t id, std::string_view path,
                                     NodeKind kind) {
  std::vector<FileBelow> found;
  std::vector<FileBelow> directories{{id, std::string(path)}};
  for (std::size_t i = 0; i < directories.size(); ++i) {
    MEDIAFS_ASSIGN(auto query, db.prepare("SELECT id, name, kind FROM node WHERE parent = ? ORDER BY name"));
    query.bind(1, directories[i].id);
    for (;;) {
      MEDIAFS_ASSIGN(const bool row, query.step());
      if (!row) break;
      FileBelow entry{query.integer(0), join_path(directories[i].path, query.view(1))};
      const bool directory = static_cast<NodeKind>(query.integer(2)) == NodeKind::directory;
      if (directory == (kind == NodeKind::directory)) found.push_back(entry);
      if (directory) directories.push_back(std::move(entry));
    }
  }
  return found;
}

}  // namespace mediafs::tier::rows
