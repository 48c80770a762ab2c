#include "tier/trash.h"

#include <limits>
#include <vector>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/mover.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kBatch = 100;
constexpr WallNs kMillisecond = 1'000'000;

// What the row does not know, or what somebody has put there since, the store tells.
void take_facts(TrashEntry& entry, const ObjectInfo& object) {
  const bool same =
      object.etag == entry.etag || (object.size_bytes == entry.size_bytes && object.meta_known &&
                                    entry.checksum && object.meta.checksum == entry.checksum);
  entry.etag = object.etag;
  entry.size_bytes = object.size_bytes;
  if (same && entry.checksum) return;
  if (!same) entry.sha1_hex.clear();
  if (!same) entry.checksum.reset();
  if (!object.meta_known) return;
  entry.mtime_ns = object.meta.mtime_ns;
  entry.mode = object.meta.mode;
  entry.uid = object.meta.uid;
  entry.gid = object.meta.gid;
  entry.checksum = object.meta.checksum;
  entry.sha1_hex = object.meta.sha1_hex;
}

ObjectMeta meta_of(const TrashEntry& entry) {
  return {.mtime_ns = entry.mtime_ns,
          .mode = entry.mode,
          .uid = entry.uid,
          .gid = entry.gid,
          .checksum = entry.checksum,
          .sha1_hex = entry.sha1_hex};
}

// Whatever a copy failed of, it is tried again: the job must not give up over an object that stands.
Error not_yet(Error error) {
  if (error.code == ErrorCode::not_found) error.code = ErrorCode::busy;
  return again(std::move(error));
}

// Emptied, or the file is back, or a listing has shown what stands there: the sweep removes the copy, so whoever was to
// write over the object looks again first.
Error waits_no_more(const std::string& source) {
  return make_error(ErrorCode::busy, printable(source), "it stopped waiting for the trash just now");
}

Error not_in_trash(std::int64_t id) {
  return make_error(ErrorCode::not_found, "entry " + std::to_string(id),
                    "it is not in the trash (mediafs trash list)");
}

Error occupied(const std::string& path, std::string why) {
  return make_error(ErrorCode::exists, printable(path),
                    std::move(why) + " (--to PATH restores it elsewhere)");
}

}  // namespace

// The store is asked once more for what it holds: its answer to the copy may be an echo.
Result<ObjectInfo> Trash::copy_proven(const TrashEntry& entry, const std::string& from, const std::string& to,
                                      const std::stop_token& stop) {
  auto copied = b_.vault->copy(from, to, meta_of(entry), stop);
  if (!copied) return not_yet(std::move(copied).error());
  auto there = b_.vault->head(to);
  if (!there) return not_yet(std::move(there).error());
  const bool other_sum =
      entry.checksum && there->meta_known && there->meta.checksum && there->meta.checksum != entry.checksum;
  if (there->size_bytes != entry.size_bytes || other_sum) {
    return make_error(ErrorCode::busy, "copy " + printable(from),
                      "the store's copy is not what was copied; the object stays where it is");
  }
  return std::move(*there);
}

// False: nothing waits, or it is not wanted.
Result<bool> Trash::move(const std::string& source, const std::stop_token& stop) {
  const auto going = [this](std::int64_t id) -> Result<bool> {
    MEDIAFS_TRY(b_.catalogue->trash_going({id}));
    return false;
  };
  MEDIAFS_ASSIGN(auto entry, b_.catalogue->trash_waiting(source));
  if (!entry) return false;
  if (b_.config.vault.trash.count() == 0) return going(entry->id);
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(entry->key)));
  // From here on its row stays, and whoever removes it for good waits until we are done.
  MEDIAFS_ASSIGN(const auto now, b_.catalogue->trash_waiting(source));
  if (!now || now->id != entry->id) return waits_no_more(source);
  auto object = b_.vault->head(source);
  if (!object && object.err().code == ErrorCode::not_found) {
    log::warning("a deleted file's object is gone: there is nothing to keep", {{"key", printable(source)}});
    return going(entry->id);
  }
  if (!object) return std::move(object).error();
  take_facts(*entry, *object);
  crash_point("trash.before_copy");
  MEDIAFS_ASSIGN(const ObjectInfo copied, copy_proven(*entry, source, entry->key, stop));
  crash_point("trash.after_copy");
  entry->etag = copied.etag;
  Status kept = b_.catalogue->trash_kept(*entry);
  crash_point("trash.after_commit");
  if (!kept && kept.err().code == ErrorCode::changed) return waits_no_more(source);
  if (!kept) return std::move(kept).error();
  return true;
}

Status Trash::keep(const std::string& source, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const bool moved, move(source, stop));
  static_cast<void>(moved);
  return {};
}

Status Trash::keep_stray(const ObjectInfo& object, const std::stop_token& stop) {
  if (b_.config.vault.trash.count() == 0) {
    log::warning(
        "an object that the library does not know stands where a file's is to go: it is written over",
        {{"key", printable(object.key)}});
    return {};
  }
  log::warning(
      "an object that the library does not know stands where a file's is to go: it moves to the trash",
      {{"key", printable(object.key)}});
  TrashEntry entry;
  entry.path = entry.source = object.key;
  take_facts(entry, object);
  MEDIAFS_TRY(b_.catalogue->trash_stray(entry));
  MEDIAFS_ASSIGN(const bool moved, move(object.key, stop));
  return moved ? Status() : waits_no_more(object.key);
}

// An entry whose object does not wait any more.
Result<TrashEntry> Trash::settled(std::int64_t id, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(auto entry, b_.catalogue->trash_entry(id));
  if (entry && entry->state == TrashState::waiting) {
    MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(entry->source)));
    MEDIAFS_TRY(keep(entry->source, stop));
    MEDIAFS_ASSIGN(entry, b_.catalogue->trash_entry(id));
  }
  if (!entry || entry->state != TrashState::kept) return not_in_trash(id);
  return std::move(*entry);
}

Status Trash::check_free(const std::string& path) {
  MEDIAFS_TRY(check_path(path));
  if (path.empty() || b_.is_state(path) || b_.in_incoming(path)) {
    return make_error(ErrorCode::invalid, printable(path),
                      "it is no place in the library (name another with --to PATH)");
  }
  MEDIAFS_ASSIGN(const auto node, b_.catalogue->find(path));
  if (node) return occupied(path, "something has this name");
  for (std::string_view above = parent_path(path); !above.empty(); above = parent_path(above)) {
    MEDIAFS_ASSIGN(const auto directory, b_.catalogue->find(above));
    if (directory && directory->kind == NodeKind::file)
      return occupied(path, printable(above) + " is a file");
  }
  const auto local = stat_at(b_.local_root.get(), path);
  if (local) return occupied(path, "something has this name on the local branch");
  if (local.err().code != ErrorCode::not_found) return occupied(path, local.err().cause);
  MEDIAFS_ASSIGN(const auto shared, b_.catalogue->share_entry(path));
  if (shared) return occupied(path, "something has this name on the share");
  MEDIAFS_ASSIGN(const std::int64_t owner, b_.catalogue->key_owner(path));
  if (owner == 0) return {};
  return make_error(ErrorCode::busy, printable(path),
                    "the object of a file that was renamed still stands there (try again in a moment)");
}

// What is to be forgotten under the key may be overwritten; what nobody knows may not.
Status Trash::clear_stray(const std::string& key, const std::stop_token& stop) {
  MEDIAFS_TRY(keep(key, stop));
  MEDIAFS_ASSIGN(const bool forgotten, b_.catalogue->is_tombstoned(key));
  if (forgotten) return {};
  const auto there = b_.vault->head(key);
  if (there) return occupied(key, "the vault has an object of this name that the library does not know");
  return there.err().code == ErrorCode::not_found ? Status() : Status(there.err());
}

Result<std::string> Trash::restore(std::int64_t id, const std::string& to, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(TrashEntry entry, settled(id, stop));
  const std::string path = to.empty() ? entry.path : to;
  MEDIAFS_TRY(check_free(path));
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(std::vector<std::string>{Claims::key_claim(entry.key),
                                                                       Claims::key_claim(path)}));
  MEDIAFS_ASSIGN(const auto now, b_.catalogue->trash_entry(id));
  if (!now || now->state != TrashState::kept) return not_in_trash(id);
  MEDIAFS_TRY(clear_stray(path, stop));
  auto object = b_.vault->head(entry.key);
  if (!object && object.err().code == ErrorCode::not_found) {
    MEDIAFS_TRY(b_.catalogue->trash_going({id}));
    return make_error(ErrorCode::not_found, printable(entry.path),
                      "the vault has no " + printable(entry.key) + " any more");
  }
  if (!object) return std::move(object).error();
  take_facts(entry, *object);
  MEDIAFS_TRY(b_.catalogue->trash_restoring(path));
  crash_point("restore.after_intent");
  MEDIAFS_ASSIGN(const ObjectInfo copied, copy_proven(entry, entry.key, path, stop));
  crash_point("restore.after_copy");
  {
    MEDIAFS_ASSIGN(auto name, b_.claims->claim(path));
    MEDIAFS_TRY(check_free(path));
    MEDIAFS_TRY(b_.catalogue->trash_restored(entry,
                                             {.key = path,
                                              .size_bytes = entry.size_bytes,
                                              .mtime_ns = entry.mtime_ns,
                                              .etag = copied.etag,
                                              .generation = 1,
                                              .checksum = entry.checksum,
                                              .since_ns = b_.clock->wall_ns()},
                                             b_.visible(path)));
  }
  crash_point("restore.after_commit");
  log::info("restored from the trash", {{"path", printable(path)}});
  claim.release();
  if (const auto removed = remove(entry); !removed)
    log::warning("its copy in the trash goes later", removed.err(), {{"key", printable(entry.key)}});
  return path;
}

Result<Trash::Removed> Trash::remove(const TrashEntry& entry) {
  if (!entry.key.starts_with(kTrashKeys))
    return make_error(ErrorCode::internal, printable(entry.key), "it is no key of the trash");
  MEDIAFS_TRY(b_.catalogue->trash_going({entry.id}));
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(entry.key)));
  crash_point("trash.before_remove");
  MEDIAFS_TRY(b_.vault->remove(entry.key));
  crash_point("trash.after_remove");
  MEDIAFS_TRY(b_.catalogue->trash_gone({entry.id}));
  return Removed{1, entry.size_bytes};
}

Result<Trash::Removed> Trash::sweep(const std::stop_token& stop, bool expire) {
  constexpr WallNs kNone = std::numeric_limits<WallNs>::min();
  Removed all;
  const WallNs before = expire ? b_.clock->wall_ns() - b_.config.vault.trash.count() * kMillisecond : kNone;
  Status failed;  // one that the store does not let go keeps no other
  for (std::int64_t after = 0; !stop.stop_requested();) {
    MEDIAFS_ASSIGN(const auto due, b_.catalogue->trash_due(before, after, kBatch));
    if (due.empty()) break;
    std::vector<std::int64_t> ids;
    for (const TrashEntry& entry : due) ids.push_back(entry.id);
    MEDIAFS_TRY(b_.catalogue->trash_going(ids));
    for (const TrashEntry& entry : due) {
      if (stop.stop_requested()) break;
      const auto one = remove(entry);
      if (!one && failed) failed = one.err();
      if (!one || entry.state == TrashState::going) continue;
      all.files += one->files;
      all.bytes += one->bytes;
    }
    after = due.back().id;
  }
  MEDIAFS_TRY(std::move(failed));
  return all;
}

Status Trash::find_kept(const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const std::string listed, b_.catalogue->setting(kTrashListed));
  if (!listed.empty()) return {};
  Status taken;
  const std::string folder(kTrashKeys.substr(0, kTrashKeys.size() - 1));
  Status all = b_.vault->list(
      folder,
      [&](std::vector<ObjectInfo>&& page) {
        std::vector<TrashEntry> entries;
        for (const ObjectInfo& object : page) {
          auto entry = from_trash_key(object.key);
          if (!entry) continue;
          entry->size_bytes = object.size_bytes;
          entry->mtime_ns = object.meta.mtime_ns;
          entries.push_back(std::move(*entry));
        }
        taken = b_.catalogue->trash_found(entries);
        return taken.has_value();
      },
      stop);
  MEDIAFS_TRY(std::move(taken));
  if (!all && all.err().code != ErrorCode::not_found) return all;
  return b_.catalogue->set_setting(kTrashListed, "yes");
}

}  // namespace mediafs::tier
