// mediafs rebuild: a lost catalogue is made again from the newest good snapshot in the vault, the vault's listing and the
// local tree; without a snapshot from the latter two. Nothing in the vault is changed, and of the local tree
// only what a scan at a start tidies too: temporary files, what an eviction had set aside, sidecars without a file.
// Threads:    one, while no daemon serves the library; it asks for objects' metadata from several.
// Borrows:    Branches (without catalogue and vault) and the vault's driver.
// Errors:     invalid: there is nothing to rebuild, or nobody said that this library is the vault's; offline: it is another
//             library's vault; the vault's and the catalogue's.
// Crash:      the new catalogue is made beside the old one and takes its place whole: killed before that, all is done
//             again; after it the objects' metadata goes on where it was. Run again, it completes.
// Invariants: (1) what the vault has is listed afterwards, and what the local tree has; (2) the data version only grows.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "tier/catalogue/recovery.h"
#include "tier/mover.h"

namespace mediafs::tier {

struct RebuildProgress {
  std::string step;  // in words
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0: nobody knows
};

struct RebuildOptions {
  std::string database;  // of the state directory
  std::string
      vault_id;  // whoever asked says that this library is the owner of the vault with this id; "": the file says it
  bool force = false;    // though the catalogue is whole
  bool metadata = true;  // false: an object's is read when the file is opened first
  std::function<void(const RebuildProgress&)> on_progress = [](const RebuildProgress&) {};
};

struct RebuildReport {
  std::string snapshot;  // its key; "": there was none
  std::string aside;     // where the catalogue is that was there before
  bool resumed = false;  // it was rebuilt already, but for the metadata
  Recovered recovered;
  std::uint64_t metadata = 0;  // objects that were asked
  std::int64_t version = 0;
};

Result<RebuildReport> rebuild(Branches& branches, Vault& driver, const RebuildOptions& options,
                              std::stop_token stop);

// The last step: mode, times and checksum of vault-only files that only a listing has shown. Goes on where it was.
Result<std::uint64_t> read_metadata(Catalogue& catalogue, Vault& vault,
                                    const std::function<void(const RebuildProgress&)>& on_progress,
                                    const std::stop_token& stop);
inline constexpr std::string_view kMetadataFrom =
    "rebuild.metadata";  // a setting: the last path that was done; "": nothing is left to be asked

}  // namespace mediafs::tier
