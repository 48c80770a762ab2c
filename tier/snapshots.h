// Snapshots: copies of the catalogue in the vault, so that it can be lost (DESIGN.md, invariant 7).
// Threads:    one at a time for each function; they block on disk and network.
// Shapes:     .mediafs/catalogue/TIME.db.gz, an SQLite database as gzip has it: any tool reads it. The newest 3 are kept.
// Owns:       snapshot.db, snapshot.db.part and snapshot.db.gz beside the catalogue.
// Errors:     the vault's and the catalogue's; no_space: it would go under the reserve; corrupt: a snapshot that is damaged.
// Crash:      a snapshot is whole in the vault or not there (Vault::put); it is made again. What a kill leaves on the disk
//             the next one, or the next start, removes.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "tier/mover.h"

namespace mediafs::tier {

inline constexpr std::string_view kSnapshotKeys = ".mediafs/catalogue";
inline constexpr std::string_view kSnapshotAt = "snapshot.at";  // a setting: ns since 1970, of the newest one

class Snapshots {
 public:
  // `directory`: where the catalogue is.
  Snapshots(Branches& branches, std::string directory);
  // If the interval is over and the catalogue has changed since: the new one's key.
  Result<std::optional<std::string>> take_if_due(std::stop_token stop);
  Result<std::string> take(std::stop_token stop);

 private:
  Status room_for_copy() const;
  void clear() const;
  Branches& b_;
  const std::string directory_;
};

// Newest first.
Result<std::vector<ObjectInfo>> list_snapshots(Vault& vault, std::stop_token stop);
// Into `file`, a database that was looked at whole. corrupt: it is damaged.
Status fetch_snapshot(Vault& vault, const ObjectInfo& object, const std::string& file, std::stop_token stop);

}  // namespace mediafs::tier
