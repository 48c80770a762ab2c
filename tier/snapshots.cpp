#include "tier/snapshots.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <memory>
#include <span>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "common/sqlite.h"
#include "tier/catalogue/health.h"

namespace mediafs::tier {

namespace {

constexpr std::size_t kKept = 3;
constexpr std::size_t kPiece = 1 << 20;
constexpr std::string_view kGroupsNow = "later.groups";  // catalogue/writer.cpp: grows with what is written
constexpr std::string_view kSnapshotGroups = "snapshot.groups";  // as it was when the newest one was made
constexpr std::chrono::minutes kCheckLimit{10};
constexpr std::int64_t kOwnGroups = 2;

using Packed = std::unique_ptr<gzFile_s, int (*)(gzFile)>;

std::int64_t number(const Result<std::string>& text) {
  std::int64_t value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

Error packing_failed(const std::string& file, gzFile packed) {
  int rc = Z_OK;
  const std::string why = gzerror(packed, &rc);
  return make_error(rc == Z_ERRNO ? ErrorCode::no_space : ErrorCode::corrupt, printable(file), why);
}

// The fastest level: it halves the time that the next one would need, for a few hundredths of the size.
Status pack(const std::string& from, const std::string& to, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const Fd in, open_at(AT_FDCWD, from, O_RDONLY | O_CLOEXEC));
  MEDIAFS_ASSIGN(Fd out, open_at(AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  Packed packed(gzdopen(out.get(), "wb1"), &gzclose);
  if (!packed) return make_error(ErrorCode::busy, printable(to), "out of memory");
  static_cast<void>(out.release());
  std::vector<std::byte> bytes(kPiece);
  for (std::uint64_t offset = 0;;) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "snapshot of the catalogue");
    MEDIAFS_ASSIGN(const std::size_t n, read_some(in.get(), bytes, offset));
    if (n == 0) break;
    if (gzwrite(packed.get(), bytes.data(), static_cast<unsigned>(n)) != static_cast<int>(n))
      return packing_failed(to, packed.get());
    offset += n;
  }
  if (gzclose(packed.release()) != Z_OK)
    return make_error(ErrorCode::no_space, printable(to), "it could not be written whole");
  return {};
}

Status unpack(const std::string& from, const std::string& to) {
  MEDIAFS_ASSIGN(Fd in, open_at(AT_FDCWD, from, O_RDONLY | O_CLOEXEC));
  MEDIAFS_ASSIGN(const Fd out, open_at(AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  Packed packed(gzdopen(in.get(), "rb"), &gzclose);
  if (!packed) return make_error(ErrorCode::busy, printable(from), "out of memory");
  static_cast<void>(in.release());
  std::vector<std::byte> bytes(kPiece);
  std::uint64_t offset = 0;
  for (;;) {
    const int n = gzread(packed.get(), bytes.data(), kPiece);
    if (n < 0) return packing_failed(from, packed.get());
    if (n == 0) break;
    MEDIAFS_TRY(write_all(out.get(), std::span(bytes).first(static_cast<std::size_t>(n)), offset));
    offset += static_cast<std::uint64_t>(n);
  }
  if (gzdirect(packed.get()) != 0 || gzclose(packed.release()) != Z_OK)
    return make_error(ErrorCode::corrupt, printable(from), "it is cut off, or no snapshot");
  return sync_fd(out.get());
}

Status download(Vault& vault, const ObjectInfo& object, const std::string& file,
                const std::stop_token& stop) {
  MEDIAFS_ASSIGN(const Fd out, open_at(AT_FDCWD, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  std::vector<std::byte> bytes(kPiece);
  for (std::uint64_t offset = 0; offset < object.size_bytes;) {
    if (stop.stop_requested()) return make_error(ErrorCode::cancelled, "read " + printable(object.key));
    const std::size_t n = std::min<std::uint64_t>(kPiece, object.size_bytes - offset);
    MEDIAFS_ASSIGN(const std::size_t got,
                   vault.read({.key = object.key, .offset = offset, .size_bytes = n, .if_match = object.etag},
                              std::span(bytes).first(n)));
    if (got != n) return make_error(ErrorCode::io, "read " + printable(object.key), "it ended too early");
    MEDIAFS_TRY(write_all(out.get(), std::span(bytes).first(n), offset));
    offset += n;
  }
  return {};
}

Status look_at(const std::string& file, const std::stop_token& stop) {
  MEDIAFS_ASSIGN(auto db, sql::Connection::open(file, sql::Connection::Mode::read_only));
  return check_database(*db, false, kCheckLimit, stop);
}

// What it still had to remove was removed since, or is another file's by now: put in the catalogue's place by hand it must
// touch nothing in the vault before it has been rebuilt.
Status mark_as_snapshot(const std::string& file) {
  MEDIAFS_ASSIGN(auto db, sql::Connection::open(file, sql::Connection::Mode::read_write_create));
  MEDIAFS_ASSIGN(auto put, db->prepare("INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)"));
  return put.bind_text(1, kIncomplete).bind_text(2, "it is a snapshot").run();
}

}  // namespace

Snapshots::Snapshots(Branches& branches, std::string directory)
    : b_(branches), directory_(std::move(directory)) {
  clear();
}

void Snapshots::clear() const {
  for (const char* name : {"/snapshot.db.part", "/snapshot.db", "/snapshot.db.gz"})
    ::unlink((directory_ + name).c_str());
}

// The copy and, packed, about half of it again.
Status Snapshots::room_for_copy() const {
  const auto st = stat_at(AT_FDCWD, directory_ + "/catalogue.db");
  if (!st || b_.space == nullptr) return {};
  const std::uint64_t bytes = static_cast<std::uint64_t>(st->st_size) * 3 / 2;
  const SpaceFigures now = b_.space->figures();
  if (now.free_bytes >= now.reserve_bytes + bytes) return {};
  return make_error(ErrorCode::no_space, "snapshot of the catalogue", "it would take the local reserve");
}

Result<std::optional<std::string>> Snapshots::take_if_due(std::stop_token stop) {
  const auto every = b_.config.vault.snapshot_every;
  if (every.count() == 0) return std::optional<std::string>{};
  const std::int64_t at = number(b_.catalogue->setting(kSnapshotAt));
  const std::int64_t age = b_.clock->wall_ns() - at;
  const bool early = age >= 0 && age < std::chrono::nanoseconds(every).count();
  // What is noted about a snapshot are two groups of their own.
  const std::int64_t changes =
      number(b_.catalogue->setting(kGroupsNow)) - number(b_.catalogue->setting(kSnapshotGroups));
  if (early || (at != 0 && changes <= kOwnGroups)) return std::optional<std::string>{};
  MEDIAFS_ASSIGN(std::string key, take(std::move(stop)));
  return std::optional<std::string>(std::move(key));
}

Result<std::string> Snapshots::take(std::stop_token stop) {
  MEDIAFS_TRY(room_for_copy());
  const std::string copy = directory_ + "/snapshot.db";
  const std::string packed = copy + ".gz";
  struct Clear {
    const Snapshots& of;
    ~Clear() { of.clear(); }
  } clear_after{*this};
  const WallNs now_ns = b_.clock->wall_ns();
  MEDIAFS_ASSIGN(const std::string groups, b_.catalogue->setting(kGroupsNow));
  MEDIAFS_TRY(b_.catalogue->backup_to(copy, stop));
  crash_point("snapshot.after_copy");
  MEDIAFS_TRY(mark_as_snapshot(copy));
  MEDIAFS_TRY(look_at(copy, stop));  // a damaged one is not to push a good one out
  MEDIAFS_TRY(pack(copy, packed, stop));
  ::unlink(copy.c_str());
  MEDIAFS_ASSIGN(const Fd fd, open_at(AT_FDCWD, packed, O_RDONLY | O_CLOEXEC));
  MEDIAFS_ASSIGN(const auto st, stat_fd(fd.get()));
  MEDIAFS_ASSIGN(const Checksums sums, hash_fd(fd.get(), {}, stop));
  const std::string key = join_path(kSnapshotKeys, compact_time(now_ns) + ".db.gz");
  ObjectMeta meta;
  meta.mtime_ns = now_ns;
  meta.mode = 0600;
  meta.checksum = sums.xxh128;
  MEDIAFS_TRY(
      b_.vault->put(key, {.fd = fd.get(), .size_bytes = static_cast<std::uint64_t>(st.st_size)}, meta, stop));
  crash_point("snapshot.after_put");
  MEDIAFS_TRY(b_.catalogue->set_setting(kSnapshotGroups, groups));
  MEDIAFS_TRY(b_.catalogue->set_setting(kSnapshotAt, std::to_string(now_ns)));
  MEDIAFS_ASSIGN(const auto all, list_snapshots(*b_.vault, stop));
  for (std::size_t i = kKept; i < all.size(); ++i) MEDIAFS_TRY(b_.vault->remove(all[i].key));
  log::info("the catalogue was copied into the vault", {{"key", key}, {"bytes", std::uint64_t(st.st_size)}});
  return key;
}

Result<std::vector<ObjectInfo>> list_snapshots(Vault& vault, std::stop_token stop) {
  std::vector<ObjectInfo> found;
  const std::string folder = std::string(kSnapshotKeys) + "/";
  const Status listed = vault.list(
      std::string(kSnapshotKeys),
      [&](std::vector<ObjectInfo>&& page) {
        for (ObjectInfo& o : page) {
          if (o.key.starts_with(folder) && o.key.ends_with(".db.gz")) found.push_back(std::move(o));
        }
        return true;
      },
      std::move(stop));
  if (!listed && listed.err().code != ErrorCode::not_found) return listed.err();
  std::sort(found.begin(), found.end(),
            [](const ObjectInfo& a, const ObjectInfo& b) { return a.key > b.key; });
  return found;
}

Status fetch_snapshot(Vault& vault, const ObjectInfo& object, const std::string& file, std::stop_token stop) {
  const std::string packed = file + ".gz";
  struct Remove {
    const std::string& packed;
    ~Remove() { ::unlink(packed.c_str()); }
  } remove{packed};
  MEDIAFS_TRY(download(vault, object, packed, stop));
  MEDIAFS_ASSIGN(const auto head, vault.head(object.key));
  MEDIAFS_ASSIGN(const Fd fd, open_at(AT_FDCWD, packed, O_RDONLY | O_CLOEXEC));
  MEDIAFS_ASSIGN(const Checksums sums, hash_fd(fd.get(), {}, stop));
  if (head.meta_known && head.meta.checksum && head.meta.checksum != sums.xxh128)
    return make_error(ErrorCode::corrupt, printable(object.key),
                      "its bytes are not those that were uploaded");
  MEDIAFS_TRY(unpack(packed, file));
  return look_at(file, stop);
}

}  // namespace mediafs::tier
