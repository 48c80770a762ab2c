// Reconcile: the truth after the fact. Compares the local tree with the catalogue and repairs both; takes
// the watcher's events as hints for single paths.
// Threads:    safe from any thread; calls block on disk.
// Borrows:    Branches (outlives it).
// Errors:     the catalogue's; io of the scan. One path's trouble is logged and does not end the scan.
// Crash:      idempotent: run again, it goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/sync.h"
#include "tier/first_listing.h"
#include "tier/mover.h"

namespace mediafs::tier {

struct ReconcileReport {
  std::uint64_t seen = 0, adopted = 0, gone = 0, temporary_removed = 0, incoming = 0;
};

// Local files (and directories, for all that is below) that bear a longer path than the system takes at once: nothing
// can follow them, so they are neither catalogued nor uploaded.
struct TooLong {
  std::uint64_t count = 0;
  std::vector<std::string> some;
};

class Reconcile {
 public:
  // `incoming` is called for each file that settled below Incoming: the pipeline's business.
  // `named`, now and then while a vault is listed for the first time: the catalogue knows more names.
  Reconcile(Branches& branches, std::function<void(const std::string& path)> incoming,
            std::function<void()> named = {});
  Status file_settled(
      const std::string& path);  // adopt what stands there now (a file or directory), or nothing
  Status file_gone(const std::string& path);
  // Underneath, from `path` to `to`: within the library the new name's own event settles both.
  Status file_moved(const std::string& path, const std::string& to);
  // The whole local tree against the catalogue, both ways. Removes what a killed fetch left in kTempDir.
  Result<ReconcileReport> scan(std::stop_token stop);
  // What a kill left of objects that had stepped aside. Before jobs may run, which would take some of them away.
  Status settle_moving(const std::stop_token& stop);
  // First contact with a vault that the catalogue doesn't know: its listing becomes vault-only files. At each start:
  // what a killed relocation left there is put in its place, or kept below [organize] unsorted; what a killed eviction
  // had moved aside goes, or is kept there too.
  Status import_vault(std::stop_token stop);
  FirstListing::Progress listing() const { return first_listing_.progress(); }
  TooLong too_long() const EXCLUDES(mutex_);  // that the last scan, or an event since, has met

 private:
  class Scan;
  Status settle_moving_key(const std::string& key, const std::stop_token& stop);
  void recover_evicted(const std::stop_token& stop);
  void recover(const std::string& aside, const std::stop_token& stop);
  Result<bool> vault_holds(const Checksums& sums);
  void keep_evicted(const std::string& aside, const std::string& name);
  Status sidecars_follow(const std::string& from, const std::string& to);
  Status put_sidecar_right(const Node& node);
  void sidecars_follow_changes();
  void sidecars_follow_adopted(const std::string& to);
  Status keep_moving(const ObjectInfo& object, const std::stop_token& stop);
  Branches& b_;
  const WallNs since_ns_;  // what was left unfinished before, nobody finishes
  FirstListing first_listing_;
  void met_too_long(const std::string& path) EXCLUDES(mutex_);
  std::function<void(const std::string& path)> incoming_;
  mutable Mutex mutex_;
  TooLong too_long_ GUARDED_BY(mutex_);
};

}  // namespace mediafs::tier
