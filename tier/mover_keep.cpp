// What stands under a key that an upload or a relocation is about to take, and is not that file's: it is kept.
#include <algorithm>
#include <cstdlib>
#include <span>
#include <vector>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/internal.h"
#include "tier/mover.h"

namespace mediafs::tier {

namespace {

// Not what the row says of its object, nor the same bytes as the file's.
bool is_stray(const ObjectInfo& object, const Node& node) {
  if (holds(object, node.checksum, node.size_bytes)) return false;
  if (!node.vault || node.vault->key != object.key) return true;
  const bool same_etag = object.etag == node.vault->etag && object.size_bytes == node.vault->size_bytes;
  return !same_etag && !holds(object, node.vault->checksum, node.vault->size_bytes);
}

// Nobody knows what a listing has shown: perhaps the only bytes of a file that was renamed when the catalogue was lost.
bool only_listed(const Node& node) {
  return node.vault && !node.vault->lost && node.vault->key == node.path && !node.vault->checksum &&
         node.vault->generation == rows::kUnproven;
}

// Whether the object has the file's bytes. A store that keeps no checksums is read, unless size and time tell enough.
Result<bool> same_bytes(Vault& vault, const ObjectInfo& object, const Node& node,
                        const std::stop_token& stop) {
  constexpr WallNs kCoarse = 2'000'000'000;  // of what keeps times in seconds
  constexpr std::uint64_t kPiece = 4 << 20;
  if (object.size_bytes != node.size_bytes) return false;
  if (object.meta_known && object.meta.checksum) return object.meta.checksum == node.checksum;
  if (std::abs(object.meta.mtime_ns - node.mtime_ns) < kCoarse) return true;
  Hasher hasher{Hasher::Want{}};
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(kPiece, object.size_bytes)));
  for (std::uint64_t offset = 0; offset < object.size_bytes;) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "read " + printable(object.key));
    const auto piece = std::span(bytes).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), object.size_bytes - offset)));
    auto got = vault.read(
        {.key = object.key, .offset = offset, .size_bytes = piece.size(), .if_match = object.etag}, piece);
    if (!got) return again(std::move(got).error());
    hasher.update(piece);
    offset += piece.size();
  }
  return hasher.finish().xxh128 == node.checksum;
}

// A name beside it that is nobody's, or where a kill has left this very copy.
Result<bool> is_free(Branches& b, const std::string& name, const ObjectInfo& object) {
  MEDIAFS_ASSIGN(const auto row, b.catalogue->find(name));
  MEDIAFS_ASSIGN(const bool forgetting, b.catalogue->is_tombstoned(name));
  if (row || forgetting) return false;
  const auto there = b.vault->head(name);
  if (!there && there.err().code == ErrorCode::not_found) return true;
  if (!there) return there.err();
  return there->size_bytes == object.size_bytes && there->meta.checksum == object.meta.checksum &&
         there->meta.mtime_ns == object.meta.mtime_ns;
}

// Before an upload takes the key: what is there becomes a file of its own. REQUIRES: the claim of the path's key.
Status keep_unread(Branches& b, const Node& node, const std::stop_token& stop) {
  const auto object = b.vault->head(node.path);
  if (!object) return object.err().code == ErrorCode::not_found ? Status() : Status(object.err());
  MEDIAFS_ASSIGN(const bool same, same_bytes(*b.vault, *object, node, stop));
  if (same) return {};
  const auto on_disk = [&b](const std::string& path) { return bool(stat_at(b.local_root.get(), path)); };
  for (const std::string& name : rows::aside_names(node, on_disk)) {
    MEDIAFS_ASSIGN(auto claim, b.claims->claim(Claims::key_claim(name)));
    MEDIAFS_ASSIGN(const bool free, is_free(b, name, *object));
    if (!free) continue;
    MEDIAFS_ASSIGN(const auto kept, b.vault->copy(node.path, name, object->meta, stop));
    crash_point("upload.after_keep");
    const auto added =
        b.catalogue->import_listing({{name, kept.size_bytes, object->meta.mtime_ns, kept.etag}});
    if (!added) return added.err();
    MEDIAFS_TRY(b.catalogue->sync());
    log::warning(
        "the vault has other bytes under a local file's name, which nobody knows: they are kept beside it",
        {{"path", printable(node.path)}, {"kept", printable(name)}});
    return {};
  }
  return make_error(ErrorCode::busy, "upload " + printable(node.path),
                    "no name is free for what the vault has there");
}

}  // namespace

Result<std::optional<ObjectInfo>> Mover::object_at(const std::string& key) {
  auto head = b_.vault->head(key);
  if (head) return std::optional<ObjectInfo>{std::move(*head)};
  if (head.err().code == ErrorCode::not_found) return std::optional<ObjectInfo>{};
  return std::move(head).error();
}

// What is to be forgotten there is known: it is in the trash, or not wanted.
Status Mover::keep_stray(const ObjectInfo& object, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const bool known, b_.catalogue->is_tombstoned(object.key));
  return known ? Status() : trash_.keep_stray(object, stop);
}

// REQUIRES: the claim of the path's key.
Status Mover::make_way(const Node& node, const ObjectInfo& there, const std::stop_token& stop) {
  MEDIAFS_TRY(trash_.keep(node.path, stop));
  if (only_listed(node)) return keep_unread(b_, node, stop);
  return is_stray(there, node) ? keep_stray(there, stop) : Status();
}

}  // namespace mediafs::tier
