#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

Status add_change(Tx& tx, ChangeKind kind, std::string_view path, std::string_view from) {
  {
    // The newest row is never trimmed, so the next number is its successor for ever.
    MEDIAFS_ASSIGN(const std::int64_t newest, newest_version(tx.db));
    MEDIAFS_ASSIGN(auto insert, tx.db.prepare("INSERT INTO change (kind, path, origin, at, version) VALUES "
                                              "(?, ?, ?, ?, ?)"));
    insert.bind(1, static_cast<std::int64_t>(kind)).bind_bytes(2, path).bind(5, newest + 1);
    if (from.empty()) {
      insert.bind_null(3);
    } else {
      insert.bind_bytes(3, from);
    }
    MEDIAFS_TRY(insert.bind(4, tx.now_ns).run());
  }
  tx.version = tx.db.last_insert_id();
  if (kind == ChangeKind::deleted) MEDIAFS_TRY(tell_hooks(tx, kEventDeleted, path));
  constexpr std::int64_t kTrimEvery = 1000;
  if (tx.version % kTrimEvery != 0 || tx.version <= kChangesKept) return {};
  MEDIAFS_ASSIGN(auto trim, tx.db.prepare("DELETE FROM change WHERE version <= ?"));
  return trim.bind(1, tx.version - kChangesKept).run();
}

Status set_content(Tx& tx, const Node& node) {
  {
    MEDIAFS_ASSIGN(auto update,
                   tx.db.prepare("UPDATE node SET generation = ?2, size = ?3, mtime = ?4, checksum = ?5, "
                                 "sha1 = ?6 WHERE id = ?1"));
    update.bind(1, node.id).bind(2, node.generation).bind(3, static_cast<std::int64_t>(node.size_bytes));
    update.bind(4, node.mtime_ns).bind_text(6, node.sha1_hex);
    if (node.checksum) {
      update.bind_blob(5, *node.checksum);
    } else {
      update.bind_null(5);
    }
    MEDIAFS_TRY(update.run());
  }
  return refresh_evictable(tx, node.id);
}

Status set_owner(Tx& tx, const Node& node, std::uint32_t mode, std::uint32_t uid, std::uint32_t gid) {
  if (node.mode == mode && node.uid == uid && node.gid == gid) return {};
  {
    MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET mode = ?2, uid = ?3, gid = ?4 WHERE id = ?1"));
    MEDIAFS_TRY(update.bind(1, node.id).bind(2, mode).bind(3, uid).bind(4, gid).run());
  }
  return attributes_moved(tx, node);
}

// An object that is current is mended at once. One that is about to be written may carry the old attributes
// or the new ones, nobody knows: so a mark is left, and the confirmation of the write calls for the restat.
Status attributes_moved(Tx& tx, const Node& node) {
  if (node.kind != NodeKind::file) return {};
  bool mark = node.dirty() && node.vault;
  if (!mark) {
    MEDIAFS_ASSIGN(mark, outstanding(tx.db, node.dirty() ? kStageUpload : kStageRelocate, node.id));
  }
  if (mark) {
    MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET restat = 1 WHERE id = ?"));
    MEDIAFS_TRY(update.bind(1, node.id).run());
  }
  return node.dirty() ? Status{} : enqueue_for(tx, kStageRestat, node);
}

Status restat_if_asked(Tx& tx, const Node& node, bool mtime_too) {
  bool asked = mtime_too && node.vault && node.vault->mtime_ns != node.mtime_ns;
  {
    MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET restat = 0 WHERE id = ? AND restat <> 0"));
    MEDIAFS_TRY(update.bind(1, node.id).run());
    asked = asked || tx.db.changes() > 0;
  }
  return asked ? enqueue_for(tx, kStageRestat, node) : Status{};
}

Status follow_vault(Tx& tx, const Node& node, const VaultCopy& copy, bool visible) {
  Node next = node;
  ++next.generation;
  next.size_bytes = copy.size_bytes;
  next.mtime_ns = copy.mtime_ns;
  next.checksum = copy.checksum;
  next.sha1_hex.clear();
  MEDIAFS_TRY(set_content(tx, next));
  MEDIAFS_TRY(put_vault(tx, node.id, copy, next.generation));
  tx.shown.push_back(node.path);
  return visible ? add_change(tx, ChangeKind::changed, node.path) : Status{};
}

namespace {

// The local bytes of a file are gone. Where the vault has an older generation only, that is what is left of
// the file: it is shown again as a change, for the alternative is to delete the last copy because a newer
// one was lost.
Status local_file_gone(Tx& tx, const Node& node, bool visible) {
  if (!node.vault) {
    MEDIAFS_TRY(end_file(tx, node));
    return visible ? add_change(tx, ChangeKind::deleted, node.path) : Status{};
  }
  MEDIAFS_TRY(delete_copy(tx, node.id, kLocalBranch));
  return node.dirty() ? follow_vault(tx, node, *node.vault, visible) : Status{};
}

}  // namespace

// Directories without a copy and without children are what only the vanished tree needed.
Status local_directory_gone(Tx& tx, const Node& node, bool visible) {
  MEDIAFS_ASSIGN(const auto files, below(tx.db, node.id, node.path, NodeKind::file));
  for (const FileBelow& entry : files) {
    MEDIAFS_ASSIGN(const auto file, load(tx.db, entry.id));
    if (file && file->local) MEDIAFS_TRY(local_file_gone(tx, *file, visible));
  }
  MEDIAFS_ASSIGN(auto directories, below(tx.db, node.id, node.path, NodeKind::directory));
  directories.insert(directories.begin(), {node.id, node.path});
  for (auto entry = directories.rbegin(); entry != directories.rend(); ++entry) {
    MEDIAFS_TRY(delete_copy(tx, entry->id, kLocalBranch));
    MEDIAFS_ASSIGN(const bool children, has_children(tx.db, entry->id));
    if (children || entry->id == kRootId) continue;
    MEDIAFS_TRY(forget_markers(tx, entry->path));
    MEDIAFS_TRY(delete_node(tx, entry->id));
  }
  return {};
}

namespace {

// The outcome of a checksum for a row that is as it was when the job was made.
Status take_checksum(Tx& tx, Node node, const Fingerprint& fingerprint, const Checksums& sums, bool visible) {
  // A file whose first checksum comes from bytes that adopt has not seen is another content too.
  const bool other =
      node.checksum ? *node.checksum != sums.xxh128 : !node.local->fingerprint.same_content_hint(fingerprint);
  if (other) {
    ++node.generation;
    if (visible) MEDIAFS_TRY(add_change(tx, ChangeKind::changed, node.path));
  }
  node.size_bytes = sums.size_bytes;
  node.mtime_ns = fingerprint.mtime_ns;
  node.checksum = sums.xxh128;
  if (other || !sums.sha1_hex.empty()) node.sha1_hex = sums.sha1_hex;
  MEDIAFS_TRY(set_content(tx, node));
  MEDIAFS_TRY(put_local(tx, node.id, fingerprint, node.generation));
  // The sidecar of the new generation is a job of its own: the one that runs may die before it has written it.
  if (other) MEDIAFS_TRY(enqueue_for(tx, kStageChecksum, node));
  const bool there =
      node.vault && node.vault->checksum == sums.xxh128 && node.vault->size_bytes == sums.size_bytes;
  if (!there) return tx.has_vault ? enqueue_for(tx, kStageUpload, node) : Status{};
  // The same bytes again (a touch, a copy over itself): nothing to upload.
  MEDIAFS_TRY(put_vault(tx, node.id, *node.vault, node.generation));
  node.vault->generation = node.generation;
  // Relocate leaves a file alone while its newest bytes are unknown; it may have done so just now.
  MEDIAFS_TRY(settle_key(tx, node, node.vault->key));
  return restat_if_asked(tx, node, true);
}

}  // namespace

}  // namespace rows

using rows::Tx;

Fingerprint fingerprint_of(const struct stat& st) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  return {.size_bytes = static_cast<std::uint64_t>(st.st_size),
          .mtime_ns = std::int64_t{st.st_mtim.tv_sec} * kSecond + st.st_mtim.tv_nsec,
          .ctime_ns = std::int64_t{st.st_ctim.tv_sec} * kSecond + st.st_ctim.tv_nsec,
          .device = st.st_dev,
          .inode = st.st_ino};
}

Status Catalogue::local_gone(std::string_view path, bool visible) {
  MEDIAFS_TRY(check_path(path));
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(const auto node, rows::load(tx.db, path));
    if (!node) return {};
    if (node->kind == NodeKind::directory) return rows::local_directory_gone(tx, *node, visible);
    return node->local ? rows::local_file_gone(tx, *node, visible) : Status{};
  });
}

Status Catalogue::checksummed(std::int64_t id, std::int64_t generation, const Fingerprint& fingerprint,
                              const Checksums& sums, bool visible) {
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(const Node node, Impl::file(tx, id));
    if (node.generation != generation || !node.local || sums.size_bytes != fingerprint.size_bytes) {
      return make_error(ErrorCode::changed, printable(node.path),
                        "it changed while its checksum was computed");
    }
    return rows::take_checksum(tx, node, fingerprint, sums, visible);
  });
}

Status Catalogue::drop_local(std::int64_t id, std::int64_t generation, const Fingerprint& fingerprint) {
  return impl_->write(
      [&](Tx& tx) -> Status {
        MEDIAFS_ASSIGN(const Node node, Impl::file(tx, id));
        const bool proven = node.generation == generation && node.in_vault() && node.local &&
                            node.local->generation == generation && node.local->fingerprint == fingerprint &&
                            node.vault->size_bytes == fingerprint.size_bytes && !node.pinned;
        if (!proven) {
          return make_error(ErrorCode::changed, printable(node.path),
                            "its local copy is pinned, or not proven to be in the vault");
        }
        MEDIAFS_TRY(rows::delete_copy(tx, id, rows::kLocalBranch));
        return rows::tell_hooks(tx, kEventEvicted, node.path);
      },
      true);
}

Status Catalogue::restore_local(std::int64_t id, std::int64_t generation, const Fingerprint& fingerprint) {
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(const Node node, Impl::file(tx, id));
    if (node.generation != generation || node.size_bytes != fingerprint.size_bytes) {
      return make_error(ErrorCode::changed, printable(node.path), "it changed while it was fetched");
    }
    return rows::put_local(tx, id, fingerprint, generation);
  });
}

Status Catalogue::set_attributes(std::string_view path, const Attributes& attributes) {
  MEDIAFS_TRY(check_path(path));
  return impl_->write([&](Tx& tx) -> Status {
    MEDIAFS_ASSIGN(const auto node, rows::load(tx.db, path));
    if (!node) return rows::not_catalogued(path);
    if (attributes.mtime_ns && *attributes.mtime_ns != node->mtime_ns) {
      Node next = *node;
      next.mtime_ns = *attributes.mtime_ns;
      MEDIAFS_TRY(rows::set_content(tx, next));
      MEDIAFS_TRY(rows::attributes_moved(tx, next));
    }
    return rows::set_owner(tx, *node, attributes.mode.value_or(node->mode),
                           attributes.uid.value_or(node->uid), attributes.gid.value_or(node->gid));
  });
}

void Catalogue::opened(std::int64_t id, WallNs at_ns) {
  if (impl_->writer) impl_->writer->opened(id, at_ns);
}

void Catalogue::opened(std::string_view path, WallNs at_ns) {
  if (!impl_->writer) return;
  const bool row = impl_->names.may_have(path) || impl_->pending(path) != Later::Touch::none;
  if (row) impl_->writer->opened(path, at_ns);
}

}  // namespace mediafs::tier
