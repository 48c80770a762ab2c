// A catalogue that is being rebuilt, from a snapshot or from nothing, before anybody serves it: what it says of the vault
// is compared with a whole listing. Nothing in the vault is changed by it, and no deletion is called for.
// Threads:    one; nobody else has the database open.
// Errors:     those of common/sqlite.h. A key that can't be shown is logged and skipped.
// Crash:      none is survived: whoever is killed begins with a new file.
// Invariants: (1) an object is the file's whose path is its key, unless it is still the very one of a file that was renamed
//             before its object was, and nothing stands under that one's path; (2) a vault copy keeps its checksum
//             only while size and ETag are the listing's; (3) no job that removes anything survives.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/sqlite.h"
#include "tier/catalogue/catalogue.h"

namespace mediafs::tier {

struct Recovered {
  std::uint64_t kept = 0;       // files whose object is as the snapshot has it
  std::uint64_t refreshed = 0;  // it is another one now
  std::uint64_t adopted = 0;    // objects that the snapshot did not know
  std::uint64_t gone = 0;       // files of the snapshot that are nowhere: deleted since then
  std::vector<std::string> some_gone = {};
  std::uint64_t back =
      0;  // that were deleted, or had another name, shortly before: nobody knows whether they should
  std::vector<std::string> some_back = {};
};

class Recovery {
 public:
  static Result<std::unique_ptr<Recovery>> open(const std::string& file, Clock& clock);

  std::int64_t version() const { return version_; }                           // of the snapshot
  const std::vector<std::string>& tombstones() const { return tombstones_; }  // that begin() dropped
  // What was under way when the snapshot was made is not: jobs but those that only read or add, tombstones, notes.
  Status begin(std::int64_t version_floor);
  // What a look at the local tree called for in the vault.
  Status drop_removals();
  Status take_page(const std::vector<VaultFile>& page);
  // REQUIRES: the listing came to its end. `suspects`: paths that were deleted when nobody could note it.
  Result<Recovered> finish(const std::string& vault_id, const std::vector<std::string>& suspects);

 private:
  Recovery(std::unique_ptr<sql::Connection> db, Clock& clock) : db_(std::move(db)), clock_(clock) {}
  Status all_or_nothing(const std::function<Status()>& work);
  Status take_file(const VaultFile& file);
  Status take_path(const std::optional<Node>& node, const VaultFile& file);
  Status take_own(const Node& node, const VaultFile& file);
  Status import(const VaultFile& file);
  Status listed(std::int64_t id);
  Status take_orphans();
  Status drop_missing();
  Status drop_missing_row(std::int64_t id);
  Status prune_directories();
  Status call_for_uploads();
  Status find_suspects(const std::vector<std::string>& paths);

  const std::unique_ptr<sql::Connection> db_;
  Clock& clock_;
  Recovered outcome_;
  std::int64_t version_ = 0;
  std::int64_t last_old_ = 0;  // rows with a higher id are the listing's
  std::vector<std::string> tombstones_ = {};
};

}  // namespace mediafs::tier
