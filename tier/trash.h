// The trash: the object of a deleted file is kept in the vault for [vault] trash, under a key below .mediafs/trash/.
// Threads:    safe from any thread; calls block on the vault.
// Borrows:    Branches (outlives it).
// Errors:     the vault's and the catalogue's; restore: not_found, exists, not_directory, invalid, busy.
// Crash:      see tier/STATES.md. Each step is repeated by what ran it: the forget job, the sweep, or the forget job that
//             restore() asks for beforehand.
// Invariants: (1) an object is removed from where it stood only after the store has told that the copy has its size and,
//             if known, its checksum; (2) the sweep removes only keys of rows that are going.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "tier/catalogue/trash.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

struct Branches;

class Trash {
 public:
  explicit Trash(Branches& branches) : b_(branches) {}

  // The object that waits under `source` moves to the trash, if one does. What comes after may overwrite or remove what
  // stands there. busy: it stopped waiting meanwhile; look again. REQUIRES: the key's claim.
  Status keep(const std::string& source, const std::stop_token& stop);
  // The same with an object that no row knows: somebody else has put it there, or a kill has left it.
  Status keep_stray(const ObjectInfo& object, const std::stop_token& stop);
  // A vault-only file again, at `to` ("": where it was). Returns its path.
  Result<std::string> restore(std::int64_t id, const std::string& to, const std::stop_token& stop);

  struct Removed {
    std::uint64_t files = 0, bytes = 0;
  };
  // For good: the entry's object, or what is left of one that is going.
  Result<Removed> remove(const TrashEntry& entry);
  // What a kill has left, in batches, and with `expire` what is older than [vault] trash.
  Result<Removed> sweep(const std::stop_token& stop, bool expire = true);
  // A catalogue that was made anew takes up what stands below .mediafs/trash/.
  Status find_kept(const std::stop_token& stop);

 private:
  Result<bool> move(const std::string& source, const std::stop_token& stop);
  Result<TrashEntry> settled(std::int64_t id, const std::stop_token& stop);
  Status check_free(const std::string& path);
  Status clear_stray(const std::string& key, const std::stop_token& stop);
  Result<ObjectInfo> copy_proven(const TrashEntry& entry, const std::string& from, const std::string& to,
                                 const std::stop_token& stop);

  Branches& b_;
};

}  // namespace mediafs::tier
