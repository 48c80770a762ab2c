#include "tier/rebuild.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "common/crash.h"
#include "common/log.h"
#include "common/path.h"
#include "tier/catalogue/health.h"
#include "tier/reconcile.h"
#include "tier/snapshots.h"
#include "tier/vault_identity.h"

namespace mediafs::tier {

namespace {

class Rebuild {
 public:
  Rebuild(Branches& branches, Vault& driver, const RebuildOptions& options, std::stop_token stop)
      : b_(branches), driver_(driver), options_(options), stop_(std::move(stop)) {}

  Result<RebuildReport> run() {
    MEDIAFS_ASSIGN(const bool needed, look_at_old());
    if (needed) {
      MEDIAFS_TRY(take_identity());
      MEDIAFS_TRY(make_new());
      MEDIAFS_TRY(publish());
    }
    MEDIAFS_ASSIGN(auto catalogue, Catalogue::open({.path = options_.database}));
    report_.version = catalogue->version();
    if (options_.metadata) {
      MEDIAFS_ASSIGN(report_.metadata, read_metadata(*catalogue, driver_, options_.on_progress, stop_));
    }
    return report_;
  }

 private:
  std::string fresh() const { return options_.database + ".rebuild"; }
  std::string known_file() const {
    return options_.database.substr(0, options_.database.rfind('/') + 1) + kKnownVaultFile;
  }
  void tell(const char* step, std::uint64_t done = 0, std::uint64_t total = 0) const {
    options_.on_progress({step, done, total});
  }
  Result<bool> look_at_old();
  Status read_old(Catalogue& old);
  Status take_identity();
  Status make_new();
  Status from_snapshot();
  Status scan();
  Status list(Recovery& recovery);
  Status publish();
  void clear_fresh() const;

  Branches& b_;
  Vault& driver_;
  const RebuildOptions& options_;
  const std::stop_token stop_;
  RebuildReport report_;
  std::string id_;
  std::int64_t old_version_ = 0;
  std::int64_t version_floor_ = 0;
  std::vector<std::string> suspects_;
};

// False: it was rebuilt, but for the metadata. A damaged one is set aside as at a start.
Result<bool> Rebuild::look_at_old() {
  tell("looking at the catalogue");
  MEDIAFS_ASSIGN(const Readiness ready,
                 make_ready({.path = options_.database, .now_ns = b_.clock->wall_ns()}));
  report_.aside = ready.aside;
  old_version_ = ready.version_floor;
  const auto st = stat_at(AT_FDCWD, options_.database);
  if (!st || st->st_size == 0) return true;
  MEDIAFS_ASSIGN(auto old, Catalogue::open({.path = options_.database}));
  old_version_ = std::max(old_version_, old->version());
  if (!old->incomplete().empty()) {
    MEDIAFS_TRY(read_old(*old));
    return true;
  }
  MEDIAFS_ASSIGN(const std::string from, old->setting(kMetadataFrom));
  report_.resumed = !from.empty() && !options_.force;
  if (report_.resumed) return false;
  if (options_.force) return true;
  return make_error(
      ErrorCode::invalid, "rebuild of " + printable(options_.database),
      "the catalogue is whole: there is nothing to rebuild (--force makes it anew all the same)");
}

// What was deleted or renamed while it was incomplete: nobody could tell what that meant in the vault.
Status Rebuild::read_old(Catalogue& old) {
  constexpr std::size_t kPage = 1000;
  for (std::int64_t since = 0;;) {
    MEDIAFS_ASSIGN(const auto page, old.changes(since, kPage, false));
    if (page.empty()) return {};
    since = page.back().version;
    for (const Change& change : page) {
      if (change.kind == ChangeKind::deleted) suspects_.push_back(change.path);
      if (change.kind == ChangeKind::renamed) suspects_.push_back(change.from);
    }
  }
}

Status Rebuild::take_identity() {
  tell("asking the vault whose it is");
  const auto marker = read_vault_marker(driver_);
  if (!marker) return marker.err();
  std::string known = options_.vault_id;
  if (const auto text = read_file(AT_FDCWD, known_file(), 64); known.empty() && text)
    known = text->substr(0, text->find('\n'));
  if (!*marker) {
    if (!known.empty()) return not_our_vault(driver_, VaultState::missing);
    return make_error(
        ErrorCode::invalid, "rebuild from vault " + driver_.describe(),
        "no mediafs has ever used it: there is nothing to rebuild from (mediafs mount lists what it has)");
  }
  if (known.empty())
    return make_error(
        ErrorCode::invalid, "rebuild from vault " + driver_.describe(),
        "nothing on this machine says that the vault is this library's (if no other mediafs serves it: "
        "mediafs rebuild --vault-id " +
            **marker + ")");
  if (known != **marker) return not_our_vault(driver_, VaultState::other);
  id_ = known;
  return {};
}

void Rebuild::clear_fresh() const {
  for (const char* part : {"", "-wal", "-shm", "-later", "-open", "-damaged", ".gz"})
    ::unlink((fresh() + part).c_str());
}

// The newest that is whole.
Status Rebuild::from_snapshot() {
  tell("looking for a snapshot");
  MEDIAFS_ASSIGN(const auto snapshots, list_snapshots(driver_, stop_));
  for (const ObjectInfo& object : snapshots) {
    Status got = fetch_snapshot(driver_, object, fresh(), stop_);
    if (got) {
      report_.snapshot = object.key;
      return {};
    }
    clear_fresh();
    if (got.err().code != ErrorCode::corrupt && got.err().code != ErrorCode::not_found) return got;
    log::warning("a snapshot of the catalogue is of no use: the one before is taken", got.err(),
                 {{"key", printable(object.key)}});
  }
  return {};
}

Status Rebuild::scan() {
  tell("looking at the local tree");
  MEDIAFS_ASSIGN(auto catalogue, Catalogue::open({.path = fresh()}));
  b_.catalogue = catalogue.get();
  Reconcile reconcile(b_, [](const std::string&) {});
  auto scanned = reconcile.scan(stop_);
  b_.catalogue = nullptr;
  if (!scanned) return std::move(scanned).error();
  tell("looking at the local tree", scanned->seen, scanned->seen);
  return {};
}

Status Rebuild::list(Recovery& recovery) {
  std::uint64_t seen = 0;
  Status taken;
  Status listed = driver_.list(
      "",
      [&](std::vector<ObjectInfo>&& page) {
        std::vector<VaultFile> files;
        files.reserve(page.size());
        for (ObjectInfo& o : page)
          files.push_back(
              {std::move(o.key), o.size_bytes, o.meta.mtime_ns, std::move(o.etag), o.any_key, o.folder});
        taken = recovery.take_page(files);
        seen += files.size();
        tell("listing the vault", seen);
        return taken.has_value();
      },
      stop_);
  MEDIAFS_TRY(std::move(taken));
  if (!listed) return listed;
  return stop_.stop_requested() ? Status(make_error(ErrorCode::cancelled, "listing the vault")) : Status();
}

Status Rebuild::make_new() {
  clear_fresh();
  MEDIAFS_TRY(from_snapshot());
  crash_point("rebuild.after_snapshot");
  {
    MEDIAFS_ASSIGN(auto recovery, Recovery::open(fresh(), *b_.clock));
    const std::int64_t before = recovery->version() + (report_.snapshot.empty() ? 0 : kVersionLeap);
    version_floor_ = version_above(options_.database, std::max(old_version_, before), b_.clock->wall_ns());
    MEDIAFS_TRY(recovery->begin(version_floor_));
    suspects_.insert(suspects_.end(), recovery->tombstones().begin(), recovery->tombstones().end());
  }
  MEDIAFS_TRY(scan());
  crash_point("rebuild.after_scan");
  MEDIAFS_ASSIGN(auto recovery, Recovery::open(fresh(), *b_.clock));
  MEDIAFS_TRY(recovery->drop_removals());
  MEDIAFS_TRY(list(*recovery));
  crash_point("rebuild.after_listing");
  tell("comparing");
  MEDIAFS_ASSIGN(report_.recovered, recovery->finish(id_, suspects_));
  return {};
}

Status Rebuild::publish() {
  // Closing it moves its log into it, unless the disk is full: without the log it would be the snapshot as it was.
  if (const auto log = stat_at(AT_FDCWD, fresh() + "-wal"); log && log->st_size > 0)
    return make_error(ErrorCode::no_space, printable(fresh()), "its log could not be written into it");
  {
    MEDIAFS_ASSIGN(const Fd made, open_at(AT_FDCWD, fresh(), O_RDONLY | O_CLOEXEC));
    MEDIAFS_TRY(sync_fd(made.get()));
  }
  MEDIAFS_TRY(write_file_atomic(AT_FDCWD, known_file(), id_ + "\n", 0600));
  MEDIAFS_TRY(note_version(options_.database, version_floor_));
  MEDIAFS_TRY(made_incomplete(options_.database));  // what is there now, or is not, says so by itself
  crash_point("rebuild.before_publish");
  MEDIAFS_ASSIGN(std::string aside,
                 set_catalogue_aside(options_.database, "before-rebuild", b_.clock->wall_ns()));
  if (report_.aside.empty()) report_.aside = std::move(aside);
  crash_point("rebuild.after_aside");
  if (::rename(fresh().c_str(), options_.database.c_str()) != 0)
    return errno_error(errno, "rename " + printable(fresh()));
  MEDIAFS_TRY(sync_parent(AT_FDCWD, options_.database));
  crash_point("rebuild.after_publish");
  return {};
}

}  // namespace

Result<RebuildReport> rebuild(Branches& branches, Vault& driver, const RebuildOptions& options,
                              std::stop_token stop) {
  return Rebuild(branches, driver, options, std::move(stop)).run();
}

}  // namespace mediafs::tier
