// What moves bytes between the branches: upload, evict, fetch, and the vault's share of renames and deletes.
// Each call does one file, once, idempotently; the pipeline's workers decide when and how often.
// Threads:    safe from any thread; calls block on disk and network.
// Borrows:    everything in Branches (outlives it).
// Errors:     the vault's and the catalogue's; changed: the file moved on, nothing was done, nothing is to be
//             done; busy: open or claimed, try later; not_found: it is gone, nothing is to be done.
// Crash:      see tier/STATES.md for each step and what recovery does there.
// Invariants: DESIGN.md's 2 and 3.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "common/config.h"
#include "common/fd.h"
#include "common/result.h"
#include "tier/catalogue/catalogue.h"
#include "tier/claims.h"
#include "tier/space.h"
#include "tier/transfers.h"
#include "tier/trash.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

// The places and helpers that tier/, fs/ and pipeline/ share. Filled by app/ once, then constant.
struct Branches {
  Config config;
  Fd local_root;  // O_PATH | O_DIRECTORY of local.path
  Catalogue* catalogue = nullptr;
  Vault* vault = nullptr;  // nullptr: none is configured
  Claims* claims = nullptr;
  Space* space = nullptr;
  Clock* clock = &Clock::system();

  // Whether a path counts in the library: outside Incoming, not below .mediafs, neither a sidecar nor
  // a temporary file of ours.
  bool visible(std::string_view path) const;
  bool in_incoming(std::string_view path) const;
  bool is_state(std::string_view path) const;  // ".mediafs" at the root and everything below it
};

inline constexpr std::string_view kStateName = ".mediafs";
inline constexpr std::string_view kMovingKeys =
    ".mediafs/moving/";                        // of objects that stepped aside; then the file's id
std::int64_t moving_id(std::string_view key);  // 0: not such a key
const std::string& temp_token();  // of this process, and of none before: its files' names in kTempDir
// Asks the store. not_found: the object is gone; false: it is not the one that the row means.
Result<bool> object_stands(Vault& vault, const Node& node);
inline constexpr std::string_view kTempDir = ".mediafs/tmp";  // below local.path: for files on their way in

// `changed` from the store means that the object is not the one we asked for just now: not that nothing is to be done.
Error again(Error error);
// Whether the object is known to have these bytes.
inline bool holds(const ObjectInfo& object, const std::optional<Xxh128>& checksum, std::uint64_t size_bytes) {
  return object.meta_known && checksum && object.meta.checksum == checksum && object.size_bytes == size_bytes;
}

class Mover {
 public:
  explicit Mover(Branches& branches) : b_(branches) {}
  using Progress = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

  Status upload(std::int64_t id, std::int64_t generation, std::stop_token stop);
  Status relocate(std::int64_t id, std::stop_token stop);
  Status forget(const std::string& key, std::stop_token stop);
  Status restat(std::int64_t id, std::stop_token stop);
  Status evict(std::int64_t id, std::int64_t generation);
  Status fetch(const std::string& path, const Progress& progress, std::stop_token stop);
  // Reads the file's object back from the store, past every cache. False: the vault has none whose checksum is known.
  // corrupt: other bytes; changed: another object; io: it is lost.
  Result<bool> verify_object(const Node& node, std::stop_token stop);
  // A vault-only file's object was not where the row says, is another version than the row says, or is known to be
  // lost: success if the row says by now where it stands, and which it is. io: it is lost, which the row then says. offline: nothing was learnt.
  Status find_again(std::int64_t id);
  // The store's own word, now: what was proven at the upload may have been deleted by somebody since. changed: it is
  // gone, which the row then says. corrupt: it is another object. Any other error: nothing was learnt.
  Status confirm_in_vault(const Node& node);
  // Computes the checksums of the local copy and tells the catalogue. Returns them with the path they were
  // read from.
  struct Summed {
    std::string path;
    Checksums sums;
  };
  Result<Summed> checksum(std::int64_t id, std::int64_t generation, std::stop_token stop);

  const Transfers& transfers() const { return transfers_; }
  Trash& trash() { return trash_; }

 private:
  // The file's row, if it is still what the job was made for; changed or not_found otherwise.
  Result<Node> current(std::int64_t id, std::int64_t generation);
  // A row that is gone by the time of the catalogue's call leaves nothing to be done.
  static Status moved_on(Status status);
  Result<Fd> open_local(const Node& node);
  Status adopt_now(const std::string& path);  // the watcher will say so too, later
  Status follow_object(const Node& node, const ObjectInfo& object);
  // `moved`: the object was another one, or elsewhere; the row says more by now.
  Status fetch_now(const std::string& path, const Progress& progress, const std::stop_token& stop,
                   bool* moved);
  Status key_is_free(std::int64_t id, const std::string& key, std::stop_token stop);
  Result<bool> found_under_old_key(const Node& node);
  Result<bool> stands_aside(const std::string& key);
  Status step_aside(std::int64_t id, const std::string& key, std::stop_token stop);
  Status adopt_claimed(const std::string& path);
  Result<std::optional<ObjectInfo>> object_at(const std::string& key);
  Status keep_stray(const ObjectInfo& object, const std::stop_token& stop);
  Status make_way(const Node& node, const ObjectInfo& there, const std::stop_token& stop);
  Status unlink_proven(int fd, const std::string& path);
  Result<Node> refined(Node node);
  Status await_space(std::uint64_t bytes, const std::stop_token& stop);
  Result<Checksums> download(const Node& node, int fd, const Progress& progress, std::stop_token stop);
  Status publish_fetched(const Node& node, int fd, const std::string& temp);
  Status take_standing(const std::string& path);

  Branches& b_;
  Trash trash_{b_};
  Transfers transfers_;
  std::atomic<std::uint64_t> next_temp_{0};
};

}  // namespace mediafs::tier
