// What a kill left of objects that had stepped aside for others (Mover::step_aside).
#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/reconcile.h"

namespace mediafs::tier {

namespace {

bool same_bytes(const std::optional<Xxh128>& checksum, std::uint64_t size_bytes, const ObjectInfo& object) {
  return checksum && object.meta_known && object.meta.checksum == checksum && object.size_bytes == size_bytes;
}

}  // namespace

Status Reconcile::settle_moving(const std::stop_token& stop) {
  std::vector<std::string> keys;
  const std::string folder(kMovingKeys.substr(0, kMovingKeys.size() - 1));
  Status listed = b_.vault->list(
      folder,
      [&](std::vector<ObjectInfo>&& page) {
        for (ObjectInfo& o : page) {
          if (o.key.starts_with(kMovingKeys)) keys.push_back(std::move(o.key));
        }
        return true;
      },
      stop);
  if (!listed && listed.err().code != ErrorCode::not_found) return listed;
  for (const std::string& key : keys) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "look at the vault");
    MEDIAFS_TRY(settle_moving_key(key, stop));
  }
  return {};
}

// A row that stands on the key has a job that moves the object to its place. Without one it is a copy whose original
// still stands, or all that is left of a file: that is put back, or kept where people see it.
Status Reconcile::settle_moving_key(const std::string& key, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(key)));
  MEDIAFS_ASSIGN(const bool in_use, b_.catalogue->key_in_use(key));
  if (in_use) return {};
  auto object = b_.vault->head(key);
  if (!object)
    return object.err().code == ErrorCode::not_found ? Status() : Status(std::move(object).error());
  MEDIAFS_ASSIGN(const auto node, b_.catalogue->find(moving_id(key)));
  MEDIAFS_ASSIGN(const bool deleted, b_.catalogue->is_tombstoned(key));
  if (!node && deleted) return {};  // its forget job decides
  const bool elsewhere =
      node && node->vault && node->vault->key != key;  // a lost row may stand on this very key
  if (elsewhere && same_bytes(node->vault->checksum, node->vault->size_bytes, *object)) {
    const auto original = b_.vault->head(node->vault->key);
    if (original && original->etag == node->vault->etag && original->size_bytes == object->size_bytes) {
      crash_point("moving.before_remove");
      log::info("removed a copy that a cut off rename had left in the vault", {{"key", printable(key)}});
      return b_.vault->remove(key);
    }
  }
  const bool lost = node && !node->local && (!node->vault || node->vault->lost);
  if (lost && same_bytes(node->checksum, node->size_bytes, *object)) {
    log::warning("a file's object was found again where a cut off rename had left it",
                 {{"path", printable(node->path)}, {"key", printable(key)}});
    return b_.catalogue->relocated(node->id, key,
                                   {.key = key,
                                    .size_bytes = object->size_bytes,
                                    .mtime_ns = object->meta.mtime_ns,
                                    .etag = object->etag,
                                    .generation = node->generation,
                                    .checksum = object->meta.checksum,
                                    .since_ns = b_.clock->wall_ns()});
  }
  return keep_moving(*object, stop);
}

Status Reconcile::keep_moving(const ObjectInfo& object, const std::stop_token& stop) {
  const std::string sum = object.meta.checksum ? to_hex(*object.meta.checksum) : object.etag;
  const std::string kept =
      join_path(b_.config.organize.unsorted, "recovered " + to_hex(xxh128(std::as_bytes(std::span(sum)))));
  MEDIAFS_TRY(check_path(kept));
  MEDIAFS_ASSIGN(auto claim, b_.claims->claim(Claims::key_claim(kept)));
  auto there = b_.vault->head(kept);
  if (!there && there.err().code == ErrorCode::not_found)
    there = b_.vault->copy(object.key, kept, object.meta, stop);
  if (!there) return std::move(there).error();
  if (there->size_bytes != object.size_bytes) {
    return make_error(ErrorCode::corrupt, "keep " + printable(object.key),
                      "the store's copy has another size");
  }
  const auto added =
      b_.catalogue->import_listing({{kept, there->size_bytes, there->meta.mtime_ns, there->etag}});
  if (!added) return added.error();
  MEDIAFS_TRY(b_.catalogue->sync());
  MEDIAFS_ASSIGN(const bool listed, b_.catalogue->key_in_use(kept));
  if (!listed) {  // deleted, and yet to be forgotten; or the name can't be shown
    log::warning("an object that a cut off rename had left stays there until the next start",
                 {{"path", printable(kept)}, {"key", printable(object.key)}});
    return {};
  }
  log::warning("an object that a cut off rename had left, and that no file is known for, is kept",
               {{"path", printable(kept)}, {"key", printable(object.key)}});
  return b_.vault->remove(object.key);
}

}  // namespace mediafs::tier
