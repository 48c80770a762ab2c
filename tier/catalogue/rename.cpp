// Renames and removals. What they have to get right is the vault, which follows later:
// - An object stays under its old key until relocate has run; the copy's row says so, and a tombstone on the old key
//   keeps a listing from showing it as a file.
// - Forgetting is always safe to ask for: the job asks key_in_use() first, under the key's claim.
// - A put that a crash interrupted may have left an object that no row knows under the path that the file had then.
//   So where a file leaves a path that a put may have been on its way to, that key is forgotten too.
#include "common/path.h"
#include "tier/catalogue/impl.h"

namespace mediafs::tier {

namespace rows {

namespace {

// Something may have been written under the file's path that its row doesn't show.
Result<bool> put_under_way(Tx& tx, const Node& node) {
  if (node.vault && !node.vault->lost && node.vault->key != node.path) return true;
  MEDIAFS_ASSIGN(const bool upload, outstanding(tx.db, kStageUpload, node.id));
  return upload && !node.vault;
}

// The path's key is to be forgotten when the file leaves it: for that, or for what an earlier life of the path left there,
// which the file would have overwritten.
Result<bool> leaves_object(Tx& tx, const Node& node) {
  MEDIAFS_ASSIGN(const bool under_way, put_under_way(tx, node));
  if (under_way || node.vault) return under_way;
  return tombstoned(tx.db, node.path);
}

Status follow_file(Tx& tx, const Node& node, const std::string& to) {
  MEDIAFS_ASSIGN(const bool forget_path, leaves_object(tx, node));
  if (forget_path) MEDIAFS_TRY(forget_key(tx, node.path));
  if (!node.vault || node.vault->lost) return {};
  if (node.vault->key == to) return delete_tombstone(tx, to);  // renamed back before the object had moved
  MEDIAFS_TRY(put_tombstone(tx, node.vault->key));
  Node moved = node;
  moved.path = to;
  return enqueue_for(tx, kStageRelocate, moved);
}

Status replace_target(Tx& tx, const Node& from, const Node& target) {
  if (target.kind == NodeKind::file) {
    if (from.kind == NodeKind::file) return end_file(tx, target);
    return make_error(ErrorCode::not_directory, printable(target.path), "a directory can't replace a file");
  }
  if (from.kind == NodeKind::file) {
    return make_error(ErrorCode::is_directory, printable(target.path), "a file can't replace a directory");
  }
  MEDIAFS_ASSIGN(const bool children, has_children(tx.db, target.id));
  if (children) return make_error(ErrorCode::not_empty, printable(target.path), "the directory is not empty");
  MEDIAFS_TRY(forget_markers(tx, target.path));
  return delete_node(tx, target.id);
}

// A rename sets ctime. It was ours, so it does not call for reading the file again.
Status rename_touched(Tx& tx, const Node& node, const struct stat& st) {
  if (!node.local) return {};
  const Fingerprint now = fingerprint_of(st);
  const Fingerprint& had = node.local->fingerprint;
  const bool same = now.same_content_hint(had) && now.device == had.device && now.inode == had.inode;
  return same || node.kind == NodeKind::directory ? put_local(tx, node.id, now, node.local->generation)
                                                  : Status{};
}

Status rename_row(Tx& tx, const Node& node, const Catalogue::RenameRequest& request) {
  MEDIAFS_ASSIGN(const auto target, load(tx.db, request.to));
  if (target) {
    // Two links of one file: rename(2) does nothing, and both names stay.
    const bool links = node.local && target->local && node.kind == NodeKind::file &&
                       node.local->fingerprint.device == target->local->fingerprint.device &&
                       node.local->fingerprint.inode == target->local->fingerprint.inode;
    if (links) return {};
    MEDIAFS_TRY(replace_target(tx, node, *target));
  }
  MEDIAFS_TRY(move_row(tx, node, request.to));
  if (request.to_visible && request.from_visible) {
    MEDIAFS_TRY(add_change(tx, ChangeKind::renamed, request.to, request.from));
  } else if (request.to_visible) {
    MEDIAFS_TRY(add_change(tx, ChangeKind::added, request.to));
  }
  return request.st ? rename_touched(tx, node, *request.st) : Status{};
}

// From Incoming, or from a name that the catalogue has not met yet.
Status rename_in(Tx& tx, const Catalogue::RenameRequest& request) {
  MEDIAFS_ASSIGN(const auto target, load(tx.db, request.to));
  const bool directory = request.st && S_ISDIR(request.st->st_mode);
  if (target && directory && target->kind == NodeKind::directory) return {};  // adopt brings it up to date
  Node source;
  source.kind = directory ? NodeKind::directory : NodeKind::file;
  if (target) MEDIAFS_TRY(replace_target(tx, source, *target));
  const bool replaced = target && target->kind == NodeKind::file;
  if (!request.st || !(S_ISREG(request.st->st_mode) || directory)) {
    return replaced ? add_change(tx, ChangeKind::deleted, request.to) : Status{};
  }
  if (!directory) {
    return insert_file(tx, request.to, *request.st, replaced ? ChangeKind::changed : ChangeKind::added);
  }
  const Fingerprint print = fingerprint_of(*request.st);
  source.mode = permission_bits(*request.st);
  source.uid = request.st->st_uid;
  source.gid = request.st->st_gid;
  MEDIAFS_ASSIGN(const std::int64_t id, insert_node(tx, request.to, source));
  MEDIAFS_TRY(put_local(tx, id, print, kUnproven));
  return give_inode(tx, id, print);
}

// With its row a file's object is forgotten, so the bytes must be on the disk.
Status may_leave(const Node& node) {
  if (node.local || !node.vault) return {};
  return make_error(ErrorCode::cross_device, "rename " + printable(node.path),
                    "the vault alone has its bytes (copy it, or fetch it first)");
}

// Out of the library: for those who watch it, each file is deleted.
Status rename_out(Tx& tx, const Node& node, const Catalogue::RenameRequest& request) {
  if (node.kind == NodeKind::file) {
    if (!request.st) MEDIAFS_TRY(may_leave(node));
    MEDIAFS_TRY(end_file(tx, node));
    return add_change(tx, ChangeKind::deleted, node.path);
  }
  MEDIAFS_ASSIGN(const auto files, below(tx.db, node.id, node.path, NodeKind::file));
  for (const FileBelow& entry : files) {
    MEDIAFS_ASSIGN(const auto file, load(tx.db, entry.id));
    if (!file) continue;
    MEDIAFS_TRY(may_leave(*file));  // the transaction takes back those before it
    MEDIAFS_TRY(end_file(tx, *file));
    MEDIAFS_TRY(add_change(tx, ChangeKind::deleted, file->path));
  }
  MEDIAFS_ASSIGN(const auto directories, below(tx.db, node.id, node.path, NodeKind::directory));
  for (const FileBelow& entry : directories) MEDIAFS_TRY(delete_node(tx, entry.id));
  MEDIAFS_TRY(forget_markers(tx, node.path));
  return delete_node(tx, node.id);
}

// The objects of the row and of all below it.
Status follow_row(Tx& tx, const Node& node, const std::string& to) {
  if (node.kind == NodeKind::file) return follow_file(tx, node, to);
  MEDIAFS_TRY(forget_markers(tx, node.path));
  MEDIAFS_ASSIGN(const auto files, below(tx.db, node.id, node.path, NodeKind::file));
  for (const FileBelow& entry : files) {
    MEDIAFS_ASSIGN(const auto file, load(tx.db, entry.id));
    if (file) MEDIAFS_TRY(follow_file(tx, *file, to + file->path.substr(node.path.size())));
  }
  return {};
}

Status place_row(Tx& tx, std::int64_t id, const std::string& to) {
  MEDIAFS_ASSIGN(const std::int64_t parent, ensure_directory(tx, parent_path(to)));
  if (tx.names != nullptr) tx.names->add(to);
  MEDIAFS_ASSIGN(auto update, tx.db.prepare("UPDATE node SET parent = ?2, name = ?3 WHERE id = ?1"));
  return update.bind(1, id).bind(2, parent).bind_bytes(3, base_name(to)).run();
}

// The row that was `before` may have moved out of a pinned directory, or into one.
Status refresh_pin(Tx& tx, const Node& before, std::string_view to) {
  if (parent_path(before.path) == parent_path(to)) return {};
  MEDIAFS_ASSIGN(const auto moved, load(tx.db, before.id));
  return moved && moved->pinned != before.pinned ? refresh_evictable_below(tx, *moved) : Status{};
}

// Invisible names have a row only where a vault's listing showed them: sidecars that somebody else put there.
Status rename_any(Tx& tx, const Catalogue::RenameRequest& request) {
  MEDIAFS_ASSIGN(const auto node, load(tx.db, request.from));
  if (!node) return request.to_visible ? rename_in(tx, request) : Status{};
  if (request.from_visible && !request.to_visible) return rename_out(tx, *node, request);
  return rename_row(tx, *node, request);
}

// A file whose life did not end after all. Its key's forget job asks who uses the key before it does anything.
Status restore_file(Tx& tx, const Node& node) {
  MEDIAFS_ASSIGN(const std::int64_t there, resolve(tx.db, node.path));
  if (there != 0) return {};
  Node back = node;
  MEDIAFS_ASSIGN(back.id, insert_node(tx, node.path, node));
  if (node.local) MEDIAFS_TRY(put_local(tx, back.id, node.local->fingerprint, node.local->generation));
  back.vault.reset();
  if (node.vault && !node.vault->lost) {
    MEDIAFS_ASSIGN(const std::int64_t owner, key_owner(tx.db, node.vault->key, 0));
    if (owner == 0) {
      back.vault = node.vault;
      MEDIAFS_TRY(put_vault(tx, back.id, *node.vault, node.vault->generation));
      MEDIAFS_TRY(settle_key(tx, back, node.vault->key));
    }
  }
  MEDIAFS_ASSIGN(const auto now, load(tx.db, back.id));
  if (node.pinned && now && !now->pinned) {
    MEDIAFS_ASSIGN(auto pin, tx.db.prepare("UPDATE node SET pinned = 1 WHERE id = ?"));
    MEDIAFS_TRY(pin.bind(1, back.id).run());
    MEDIAFS_TRY(refresh_evictable(tx, back.id));
  }
  if (node.local && !back.in_vault()) MEDIAFS_TRY(enqueue_for(tx, kStageChecksum, back));
  return {};
}

Status remove_row(Tx& tx, std::string_view path, bool visible) {
  MEDIAFS_ASSIGN(const auto node, load(tx.db, path));
  if (!node) return {};
  if (node->kind == NodeKind::directory) {
    MEDIAFS_ASSIGN(const bool children, has_children(tx.db, node->id));
    if (children) return make_error(ErrorCode::not_empty, printable(path), "the directory is not empty");
    MEDIAFS_TRY(forget_markers(tx, path));
    return delete_node(tx, node->id);
  }
  MEDIAFS_TRY(end_file(tx, *node));
  return visible ? add_change(tx, ChangeKind::deleted, path) : Status{};
}

Status check_removal(std::string_view path) {
  MEDIAFS_TRY(check_path(path));
  return path.empty() ? Status{make_error(ErrorCode::invalid, "remove", "the tree's root can't be removed")}
                      : Status{};
}

Status check_rename(const Catalogue::RenameRequest& request) {
  MEDIAFS_TRY(check_path(request.from));
  MEDIAFS_TRY(check_path(request.to));
  if (request.from.empty() || request.to.empty()) {
    return make_error(ErrorCode::invalid, "rename", "the tree's root can't be renamed");
  }
  if (request.from != request.to && is_within(request.to, request.from)) {
    return make_error(ErrorCode::invalid, "rename " + printable(request.from),
                      "a directory can't go below itself: " + printable(request.to));
  }
  return {};
}

}  // namespace

Status end_file(Tx& tx, const Node& node) {
  MEDIAFS_ASSIGN(const bool forget_path, leaves_object(tx, node));
  MEDIAFS_TRY(delete_node(tx, node.id));
  MEDIAFS_TRY(leave_for_trash(tx, node));
  if (forget_path) MEDIAFS_TRY(forget_key(tx, node.path));
  return node.vault ? forget_key(tx, node.vault->key) : Status{};
}

Status move_row(Tx& tx, const Node& node, const std::string& to) {
  MEDIAFS_TRY(follow_row(tx, node, to));
  MEDIAFS_TRY(place_row(tx, node.id, to));
  return refresh_pin(tx, node, to);
}

Status apply_later(Tx& tx, const Catalogue::RenameRequest& request) {
  return request.to.empty() ? remove_row(tx, request.from, request.from_visible) : rename_any(tx, request);
}

}  // namespace rows

Status Catalogue::rename(const RenameRequest& request) {
  MEDIAFS_TRY(rows::check_rename(request));
  if (request.from == request.to) return {};
  return impl_->write(
      [&](rows::Tx& tx) -> Status {
        MEDIAFS_TRY(rows::rename_any(tx, request));
        return request.replacing ? rows::note_replacing(tx, *request.replacing) : Status{};
      },
      request.replacing.has_value());
}

// Nothing can refuse it: the disk has done it already.
Status Catalogue::rename_later(const RenameRequest& request) {
  MEDIAFS_TRY(rows::check_rename(request));
  if (request.from == request.to) return {};
  const bool certain = request.st ? S_ISREG(request.st->st_mode) : request.cannot_fail;
  const bool plain = certain && !request.replacing && impl_->writer;
  return plain && impl_->writer->later(request) ? Status{} : rename(request);
}

Status Catalogue::call_off(const RenameRequest& request, const std::optional<Node>& target) {
  MEDIAFS_TRY(rows::check_rename(request));
  const RenameRequest back{request.to, request.from, {}, request.to_visible, request.from_visible};
  return impl_->write(
      [&](rows::Tx& tx) -> Status {
        MEDIAFS_ASSIGN(const auto moved, rows::load(tx.db, request.to));
        if (moved) MEDIAFS_TRY(rows::rename_any(tx, back));
        if (target && target->kind == NodeKind::file) {
          MEDIAFS_TRY(rows::restore_file(tx, *target));
          if (request.to_visible) MEDIAFS_TRY(rows::add_change(tx, ChangeKind::added, request.to));
        }
        return rows::drop_replacing(tx, request.to);
      },
      true);
}

Status Catalogue::exchange(const ExchangeRequest& request) {
  MEDIAFS_TRY(rows::check_rename({request.one, request.other, {}}));
  MEDIAFS_TRY(rows::check_rename({request.other, request.one, {}}));
  return impl_->write([&](rows::Tx& tx) -> Status {
    MEDIAFS_ASSIGN(const auto one, rows::load(tx.db, request.one));
    MEDIAFS_ASSIGN(const auto other, rows::load(tx.db, request.other));
    if (!one || !other) return rows::not_catalogued(one ? request.other : request.one);
    MEDIAFS_TRY(rows::follow_row(tx, *one, request.other));
    MEDIAFS_TRY(rows::follow_row(tx, *other, request.one));
    // No two rows may have one name, for a moment either.
    MEDIAFS_TRY(rows::place_row(tx, one->id, std::string(1, '\0')));
    MEDIAFS_TRY(rows::place_row(tx, other->id, request.one));
    MEDIAFS_TRY(rows::place_row(tx, one->id, request.other));
    MEDIAFS_TRY(rows::refresh_pin(tx, *one, request.other));
    MEDIAFS_TRY(rows::refresh_pin(tx, *other, request.one));
    MEDIAFS_TRY(rows::add_change(tx, ChangeKind::renamed, request.other, request.one));
    MEDIAFS_TRY(rows::add_change(tx, ChangeKind::renamed, request.one, request.other));
    MEDIAFS_TRY(rows::rename_touched(tx, *one, request.at_other));
    return rows::rename_touched(tx, *other, request.at_one);
  });
}

Status Catalogue::remove(std::string_view path, bool visible) {
  MEDIAFS_TRY(rows::check_removal(path));
  return impl_->write([&](rows::Tx& tx) { return rows::remove_row(tx, path, visible); });
}

Status Catalogue::remove_later(std::string_view path, bool visible) {
  MEDIAFS_TRY(rows::check_removal(path));
  const bool taken = impl_->writer && impl_->writer->later({std::string(path), {}, {}, visible, visible});
  return taken ? Status{} : remove(path, visible);
}

}  // namespace mediafs::tier
