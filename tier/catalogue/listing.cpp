// What a listing shows becomes vault-only files.
#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/impl.h"
#include "tier/vault/names.h"

namespace mediafs::tier {

namespace rows {

VaultCopy unread_copy(const VaultFile& file) {
  VaultCopy copy;
  copy.key = file.key;
  copy.size_bytes = file.size_bytes;
  copy.mtime_ns = file.mtime_ns;
  copy.etag = file.etag;
  return copy;
}

namespace {

// A known file that lacks a vault copy learns that something stands under its key, so that a removal
// forgets it. What it is, nobody has read: the next upload overwrites it, or a HEAD finds that it is the
// very same.
Status import_known(Tx& tx, const Node& node, const VaultFile& file) {
  if (node.vault && !node.vault->lost) return {};
  MEDIAFS_ASSIGN(const bool deleted, tombstoned(tx.db, file.key));
  if (deleted) return {};
  if (node.vault) return take_found(tx, node, unread_copy(file));
  return put_vault(tx, node.id, unread_copy(file), kUnproven);
}

Status import_folder(Tx& tx, const VaultFile& folder) {
  MEDIAFS_ASSIGN(const bool deleted, tombstoned(tx.db, folder_marker(folder.key)));
  if (deleted) return {};
  MEDIAFS_TRY(ensure_directory(tx, folder.key));
  return note_marker(tx, folder.key);
}

// invalid, not_directory, exists: this name is taken, or can't be one.
Result<bool> import_named(Tx& tx, const VaultFile& file) {
  MEDIAFS_TRY(check_path(file.key));
  if (file.key.empty() || is_within(file.key, ".mediafs")) return false;
  if (file.folder) {
    MEDIAFS_TRY(import_folder(tx, file));
    return false;
  }
  MEDIAFS_ASSIGN(const std::int64_t owner, key_owner(tx.db, file.key, 0));
  if (owner != 0) return false;
  MEDIAFS_ASSIGN(const auto known, load(tx.db, file.key));
  if (known && known->kind == NodeKind::directory) {
    return make_error(ErrorCode::exists, printable(file.key), "the tree has a directory of this name");
  }
  if (known) {
    MEDIAFS_TRY(import_known(tx, *known, file));
    return false;
  }
  MEDIAFS_ASSIGN(const bool deleted, tombstoned(tx.db, file.key));
  if (deleted) return false;
  Node node;
  node.generation = 1;
  node.size_bytes = file.size_bytes;
  node.mtime_ns = file.mtime_ns;
  node.mode = 0644;
  MEDIAFS_ASSIGN(const std::int64_t id, insert_node(tx, file.key, node));
  MEDIAFS_TRY(put_vault(tx, id, unread_copy(file), node.generation));
  MEDIAFS_TRY(add_change(tx, ChangeKind::added, file.key));
  return true;
}

// The file above `path`, which keeps it from being shown.
Result<std::optional<Node>> file_above(Tx& tx, std::string_view path) {
  for (auto at = path.find('/'); at != std::string_view::npos; at = path.find('/', at + 1)) {
    MEDIAFS_ASSIGN(auto node, load(tx.db, path.substr(0, at)));
    if (!node) return std::optional<Node>{};
    if (node->kind == NodeKind::file) return node;
  }
  return std::optional<Node>{};
}

// What only the vault has makes way by taking its marked name; its object stays where it is.
Status mark_row(Tx& tx, const Node& node) {
  const std::string to = marked_file(node.path);
  MEDIAFS_TRY(check_path(to));
  MEDIAFS_ASSIGN(const std::int64_t taken, resolve(tx.db, to));
  if (taken != 0) return make_error(ErrorCode::exists, printable(to), "the name is taken");
  VaultCopy copy = *node.vault;
  copy.key = to;
  MEDIAFS_TRY(put_vault(tx, node.id, copy, copy.generation));
  Node marked = node;
  marked.vault = copy;
  MEDIAFS_TRY(move_row(tx, marked, to));
  tx.shown.push_back(to);
  return add_change(tx, ChangeKind::renamed, to, node.path);
}

// An object of a store that takes any key, where the tree has something else of its name: one of them is marked.
Result<bool> import_marked(Tx& tx, VaultFile file, const Error& why) {
  if (why.code == ErrorCode::exists) {
    file.key = marked_file(file.key);
    return import_named(tx, file);
  }
  MEDIAFS_ASSIGN(const auto above, file_above(tx, file.key));
  if (!above) return why;
  const bool makes_way =
      !above->local && above->vault && !above->vault->lost && above->vault->key == above->path;
  if (makes_way) {
    MEDIAFS_TRY(mark_row(tx, *above));
  } else {
    file.key = marked_folder(above->path) + file.key.substr(above->path.size());
  }
  return import_named(tx, file);
}

bool may_be_marked(const VaultFile& file, ErrorCode code) {
  return file.any_key && (code == ErrorCode::exists || code == ErrorCode::not_directory);
}

}  // namespace

bool is_key_trouble(ErrorCode code) {
  return code == ErrorCode::invalid || code == ErrorCode::name_too_long || code == ErrorCode::not_directory ||
         code == ErrorCode::exists;
}

Result<bool> import_file(Tx& tx, const VaultFile& file) {
  auto imported = import_named(tx, file);
  if (imported || !may_be_marked(file, imported.err().code)) return imported;
  return import_marked(tx, file, imported.err());
}

}  // namespace rows

Result<std::size_t> Catalogue::import_listing(const std::vector<VaultFile>& page,
                                              std::string_view listed_to) {
  std::size_t added = 0;
  MEDIAFS_TRY(impl_->write([&](rows::Tx& tx) -> Status {
    added = 0;
    for (const VaultFile& file : page) {
      const auto imported = rows::import_file(tx, file);
      if (imported) {
        added += *imported ? 1 : 0;
      } else if (rows::is_key_trouble(imported.err().code)) {
        log::warning("vault object not shown", imported.err(), {{"key", printable(file.key)}});
      } else {
        return imported.err();
      }
    }
    return listed_to.empty() ? Status{} : rows::set_setting(tx, kVaultListedTo, listed_to);
  }));
  return added;
}

}  // namespace mediafs::tier
