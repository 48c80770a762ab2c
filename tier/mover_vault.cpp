// The vault's side: upload, and what renames, deletes and new attributes mean there.
#include <fcntl.h>

#include <chrono>
#include <utility>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/mover.h"

namespace mediafs::tier {

namespace {

constexpr std::chrono::seconds kClaimWait{1};  // of those who want to read
constexpr std::uint64_t kTakesLong_bytes = 64 << 20;
constexpr int kLongestCycle = 64;  // of files that took each other's names

ObjectMeta meta_of(const Node& node) {
  return {.mtime_ns = node.mtime_ns,
          .mode = node.mode,
          .uid = node.uid,
          .gid = node.gid,
          .checksum = node.checksum,
          .sha1_hex = node.sha1_hex};
}

// In a vault that is a directory the object of a file, or those of a directory, that bore the name before stand in the
// way until their own jobs have moved or removed them.
Error once_free(Error error) {
  if (error.code != ErrorCode::not_directory && error.code != ErrorCode::is_directory) return error;
  return make_error(ErrorCode::io, error.what, "what bore this name before is still there: " + error.cause);
}

VaultCopy copy_of(const ObjectInfo& info, const Node& node, WallNs now_ns) {
  return {.key = info.key,
          .size_bytes = info.size_bytes,
          .mtime_ns = node.mtime_ns,
          .etag = info.etag,
          .generation = node.generation,
          .checksum = node.checksum,
          .since_ns = now_ns};
}

}  // namespace

Error again(Error error) {
  if (error.code == ErrorCode::changed) error.code = ErrorCode::busy;
  return error;
}

// The name may be that of a file that was renamed away and whose object still stands there: perhaps its only copy. That
// one moves first. Files that swapped names wait for each other; then one object steps aside.
// REQUIRES: the claim of `key`.
Status Mover::key_is_free(std::int64_t id, const std::string& key, std::stop_token stop) {
  MEDIAFS_ASSIGN(const std::int64_t owner, b_.catalogue->key_owner(key));
  if (owner == 0 || owner == id) return {};
  std::int64_t next = owner;
  for (int step = 0; step < kLongestCycle && next != 0 && next != id; step++) {
    MEDIAFS_ASSIGN(const auto node, b_.catalogue->find(next));
    if (!node || !node->vault) break;
    MEDIAFS_ASSIGN(next, b_.catalogue->key_owner(node->path));
  }
  if (next == id) MEDIAFS_TRY(step_aside(owner, key, std::move(stop)));
  return make_error(ErrorCode::busy, printable(key),
                    "the object of a file that was renamed still stands there");
}

Status Mover::step_aside(std::int64_t id, const std::string& key, std::stop_token stop) {
  MEDIAFS_ASSIGN(const auto node, b_.catalogue->find(id));
  if (!node || !node->vault || node->vault->key != key) return {};
  ObjectMeta meta = meta_of(*node);
  meta.checksum = node->vault->checksum;
  VaultCopy aside = *node->vault;
  aside.key = std::string(kMovingKeys) + std::to_string(id);
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(aside.key)));
  // Asked for beforehand: it clears the copy away that a kill leaves, and does nothing once a row stands on it.
  MEDIAFS_TRY(b_.catalogue->jobs().enqueue(JobSpec{.stage = std::string(kStageForget), .path = aside.key}));
  MEDIAFS_ASSIGN(const auto copied, b_.vault->copy(key, aside.key, meta, std::move(stop)));
  crash_point("relocate.after_aside");
  aside.etag = copied.etag;
  MEDIAFS_TRY(moved_on(b_.catalogue->relocated(id, key, aside)));
  crash_point("relocate.aside_committed");
  return {};
}

Status Mover::upload(std::int64_t id, std::int64_t generation, std::stop_token stop) {
  MEDIAFS_ASSIGN(auto node, current(id, generation));
  if (node.in_vault()) return {};
  if (!node.checksum)
    return make_error(ErrorCode::busy, printable(node.path), "its checksum is not computed yet");
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(node.path)));
  const std::string key = node.path;
  MEDIAFS_ASSIGN(node, current(id, generation));
  if (node.path != key) return make_error(ErrorCode::busy, printable(node.path), "it was renamed just now");
  MEDIAFS_TRY(key_is_free(id, key, stop));
  MEDIAFS_ASSIGN(auto fd, open_local(node));
  MEDIAFS_ASSIGN(auto st, stat_fd(fd.get()));
  const Fingerprint before = fingerprint_of(st);
  if (before != node.local->fingerprint) {
    MEDIAFS_TRY(adopt_now(node.path));
    return make_error(ErrorCode::busy, printable(node.path), "it changed; its checksum comes first");
  }
  // Whoever wrote it may not have synced it. Were the disk to lose it with its power, what is left of it would be taken for
  // newer content than the object's.
  MEDIAFS_TRY(sync_fd(fd.get()));
  crash_point("upload.after_sync");
  MEDIAFS_ASSIGN(auto there, object_at(key));
  const bool free = !there;
  // There already: a reply that was lost, or a library that was in the vault before mediafs was.
  if (there && !(holds(*there, node.checksum, node.size_bytes) && there->meta.mtime_ns == node.mtime_ns)) {
    MEDIAFS_TRY(make_way(node, *there, stop));
    there.reset();
  }
  if (!there) {
    Transfers::Scope scope(transfers_, "upload", node.path, node.size_bytes, b_.clock->wall_ns());
    crash_point("upload.before_put");
    PutSource source{
        .fd = fd.get(), .size_bytes = node.size_bytes, .progress = [&](std::uint64_t n) { scope.add(n); }};
    // Somebody else may put one there in that time.
    source.only_new = free && node.size_bytes >= kTakesLong_bytes;
    auto sent = b_.vault->put(key, source, meta_of(node), stop);
    // Either the file changes right now, which the watcher tells too, or a read or the wire was wrong: both mean again.
    if (!sent && sent.err().code == ErrorCode::changed) {
      return make_error(ErrorCode::io, "upload " + printable(key), sent.err().message());
    }
    if (!sent) return once_free(std::move(sent).error());
    PutResult put = std::move(*sent);
    crash_point("upload.after_put");
    if (put.checksum != *node.checksum || put.info.size_bytes != node.size_bytes) {
      return make_error(ErrorCode::io, "upload " + printable(key),
                        "the bytes that were sent are not the file's");
    }
    there = std::move(put.info);
  }
  MEDIAFS_ASSIGN(auto after, stat_fd(fd.get()));
  if (!fingerprint_of(after).same_content_hint(before)) {
    return make_error(ErrorCode::busy, printable(key), "it changed while it was uploaded");
  }
  MEDIAFS_TRY(b_.catalogue->uploaded(id, generation, copy_of(*there, node, b_.clock->wall_ns())));
  crash_point("upload.after_commit");
  return {};
}

Status Mover::relocate(std::int64_t id, std::stop_token stop) {
  MEDIAFS_ASSIGN(auto found, b_.catalogue->find(id));
  if (!found || !found->vault || found->vault->lost || found->vault->key == found->path) return {};
  if (!found->in_vault() && found->local) return {};  // its upload puts it under the new key
  const std::string old_key = found->vault->key;
  const std::string new_key = found->path;
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(std::vector<std::string>{Claims::key_claim(old_key),
                                                                       Claims::key_claim(new_key)}));
  MEDIAFS_ASSIGN(found, b_.catalogue->find(id));
  if (!found || !found->vault || found->vault->key != old_key || found->path != new_key) {
    return make_error(ErrorCode::busy, printable(new_key), "it was renamed just now");
  }
  MEDIAFS_TRY(key_is_free(id, new_key, stop));
  MEDIAFS_TRY(trash_.keep(new_key, stop));
  // A listing has not told its true time and mode, which the copy is to keep.
  MEDIAFS_ASSIGN(const Node node, refined(std::move(*found)));
  ObjectMeta meta = meta_of(node);
  meta.checksum = node.vault->checksum;
  MEDIAFS_ASSIGN(const auto there, object_at(new_key));
  if (there && !holds(*there, node.vault->checksum, node.vault->size_bytes))
    MEDIAFS_TRY(keep_stray(*there, stop));
  crash_point("relocate.before_copy");
  auto copied = b_.vault->copy(old_key, new_key, meta, stop);
  if (!copied && copied.err().code == ErrorCode::not_found) {
    log::warning("vault object is gone", {{"path", printable(new_key)}, {"key", printable(old_key)}});
    return moved_on(b_.catalogue->vault_lost(id, old_key));
  }
  if (!copied) return once_free(again(std::move(copied).error()));
  crash_point("relocate.after_copy");
  if (copied->size_bytes != node.vault->size_bytes) {
    return make_error(ErrorCode::corrupt, "relocate " + printable(old_key),
                      "the store's copy has another size");
  }
  VaultCopy copy = *node.vault;
  copy.key = new_key;
  copy.etag = copied->etag;
  copy.mtime_ns = meta.mtime_ns;
  MEDIAFS_TRY(moved_on(b_.catalogue->relocated(id, old_key, copy)));
  crash_point("relocate.after_commit");
  return {};
}

// A lost file was renamed before its object was: it may have come back under the old key. Unlike what stands under its
// path it must be the very bytes.
Result<bool> Mover::found_under_old_key(const Node& node) {
  const std::string key = node.vault->key;
  if (!node.vault->lost || key == node.path) return false;
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim({Claims::key_claim(key)}, kClaimWait));
  MEDIAFS_ASSIGN(const bool in_use, b_.catalogue->key_in_use(key));
  if (in_use) return false;
  auto head = b_.vault->head(key);
  if (!head && head.err().code == ErrorCode::not_found) return false;
  if (!head) return std::move(head).error();
  const bool same = node.vault->checksum && head->meta_known && head->meta.checksum == node.vault->checksum &&
                    head->size_bytes == node.vault->size_bytes;
  if (!same) return false;
  VaultCopy copy = *node.vault;
  copy.etag = head->etag;
  copy.mtime_ns = head->meta.mtime_ns;
  copy.since_ns = b_.clock->wall_ns();
  copy.lost = false;
  log::info("a lost file is in the vault again", {{"path", printable(node.path)}, {"key", printable(key)}});
  MEDIAFS_TRY(moved_on(b_.catalogue->relocated(node.id, key, copy)));
  return true;
}

// It is another version: written by our own job a moment ago, or by somebody else.
Status Mover::follow_object(const Node& node, const ObjectInfo& object) {
  if (object.etag == node.vault->etag) return {};
  VaultCopy copy = *node.vault;
  copy.size_bytes = object.size_bytes;
  copy.etag = object.etag;
  copy.mtime_ns = object.meta.mtime_ns;
  copy.checksum = object.meta.checksum;
  copy.since_ns = b_.clock->wall_ns();
  const bool known = object.meta_known;
  // A store that keeps no checksums, and tells another ETag of what looks the same: the bytes will be compared when fetched.
  const bool alike =
      object.size_bytes == node.vault->size_bytes && object.meta.mtime_ns == node.vault->mtime_ns;
  if (!copy.checksum && alike) copy.checksum = node.vault->checksum;
  if (copy.checksum != node.vault->checksum || copy.size_bytes != node.vault->size_bytes) {
    log::warning("somebody replaced a file's object in the vault: the file has that content now",
                 {{"path", printable(node.path)}, {"key", printable(object.key)}});
  }
  return moved_on(b_.catalogue->refine_vault(node.id, copy, known ? object.meta.mode : node.mode,
                                             known ? object.meta.uid : node.uid,
                                             known ? object.meta.gid : node.gid));
}

Status Mover::find_again(std::int64_t id) {
  MEDIAFS_ASSIGN(const auto node, b_.catalogue->find(id));
  if (!node || node->local || !node->vault) return {};
  if (b_.vault == nullptr) {
    return make_error(ErrorCode::offline, "read " + printable(node->path), "no vault is configured");
  }
  const std::string key = node->vault->lost ? node->path : node->vault->key;
  MEDIAFS_ASSIGN(const std::int64_t owner, b_.catalogue->key_owner(key));
  MEDIAFS_ASSIGN(const bool forgotten, b_.catalogue->is_tombstoned(key));
  const bool foreign =
      node->vault->lost && (forgotten || owner != 0);  // what stands there is not this file's
  auto head = foreign ? Result<ObjectInfo>(make_error(ErrorCode::not_found, key)) : b_.vault->head(key);
  if (head && !node->vault->lost) return follow_object(*node, *head);
  if (head) {
    VaultCopy copy = copy_of(*head, *node, b_.clock->wall_ns());
    copy.mtime_ns = head->meta.mtime_ns;
    copy.checksum = head->meta.checksum;
    log::info("a lost file is in the vault again", {{"path", printable(node->path)}});
    return b_.catalogue->vault_found(id, copy);
  }
  if (head.err().code != ErrorCode::not_found) return std::move(head).error();
  MEDIAFS_ASSIGN(const bool found, found_under_old_key(*node));
  if (found) return {};
  MEDIAFS_TRY(b_.catalogue->vault_lost(id, node->vault->key));
  MEDIAFS_ASSIGN(const auto now, b_.catalogue->find(id));
  if (!now || now->local || !now->vault || !now->vault->lost) return {};  // it moved just then
  Error lost = make_error(ErrorCode::io, "read " + printable(node->path),
                          "the vault has no " + printable(key) +
                              " any more, and there is no other copy (put the object back under that key, or "
                              "remove the file)");
  log::error("a file is lost", lost, {{"vault", b_.vault->describe()}});
  return lost;
}

// A lost file's object may stand where it had stepped aside: it is found there again (Reconcile::settle_moving).
Result<bool> Mover::stands_aside(const std::string& key) {
  if (!key.starts_with(kMovingKeys)) return false;
  MEDIAFS_ASSIGN(const auto node, b_.catalogue->find(moving_id(key)));
  return node && node->vault && node->vault->key == key;
}

Status Mover::forget(const std::string& key, std::stop_token stop) {
  MEDIAFS_TRY(check_path(key));
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(key)));
  MEDIAFS_ASSIGN(const bool aside, stands_aside(key));
  if (aside) return {};
  // A new file has the name: its own upload moves what waits for the trash, and overwrites what stands there.
  MEDIAFS_ASSIGN(const bool in_use, b_.catalogue->key_in_use(key));
  if (in_use) return {};
  crash_point("forget.before_keep");
  MEDIAFS_TRY(trash_.keep(key, stop));
  MEDIAFS_ASSIGN(const bool taken, b_.catalogue->key_in_use(key));
  if (taken) return {};
  // A power cut must not take back the removal that called for this: a row without its object would be left.
  MEDIAFS_TRY(b_.catalogue->sync());
  crash_point("forget.before_remove");
  MEDIAFS_TRY(b_.vault->remove(key));
  crash_point("forget.after_remove");
  MEDIAFS_TRY(b_.catalogue->forgotten(key));
  crash_point("forget.after_commit");
  return {};
}

Status Mover::restat(std::int64_t id, std::stop_token stop) {
  MEDIAFS_ASSIGN(auto found, b_.catalogue->find(id));
  if (!found || !found->vault || found->vault->lost) return {};
  if (!found->in_vault() && found->local) return {};  // its upload carries the attributes
  const std::string key = found->vault->key;
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(key)));
  MEDIAFS_ASSIGN(found, b_.catalogue->find(id));
  if (!found || !found->vault || found->vault->lost || found->vault->key != key) return {};
  MEDIAFS_ASSIGN(found, refined(std::move(*found)));
  ObjectMeta meta = meta_of(*found);
  meta.checksum = found->vault->checksum;
  crash_point("restat.before_copy");
  auto copied = b_.vault->copy(key, key, meta, stop);
  if (!copied && copied.err().code == ErrorCode::not_found)
    return moved_on(b_.catalogue->vault_lost(id, key));
  if (!copied) return again(std::move(copied).error());
  crash_point("restat.after_copy");
  VaultCopy copy = *found->vault;
  copy.etag = copied->etag;
  copy.mtime_ns = meta.mtime_ns;
  return moved_on(b_.catalogue->uploaded(id, copy.generation, copy));
}

}  // namespace mediafs::tier
