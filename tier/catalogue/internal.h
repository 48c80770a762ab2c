// The catalogue's inside: a transaction in the making and the row operations that the public calls are built of.
// Threads:    a Tx belongs to the writer's thread; functions on a Connection to whoever holds that connection.
// Errors:     those of common/sqlite.h and of the public call.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/sqlite.h"
#include "common/sync.h"
#include "tier/catalogue/catalogue.h"
#include "tier/catalogue/hooks.h"

namespace mediafs::tier::rows {

inline constexpr std::int64_t kRootId = 1;
inline constexpr std::int64_t kLocalBranch = 1;
inline constexpr std::int64_t kVaultBranch = 2;
// A local copy of this generation is there, but nobody has read it yet: no proof, so it is never evicted.
// A vault copy of it holds bytes that nobody knows: it is overwritten by the next upload.
inline constexpr std::int64_t kUnproven = 0;
// Inode numbers that no local file has: for files that the vault showed first, and where the disk used a number again.
inline constexpr std::uint64_t kOwnInodes = 1ULL << 62;
// The same for local files whose number an evicted file keeps: bits 52 to 59 count them.
inline constexpr std::uint64_t kReusedInodes = 1ULL << 61;
inline constexpr std::int64_t kChangesKept = 100'000;

// Other numbers than the disk's that were shown for files without a row: their rows get them.
class PromisedInodes {
 public:
  std::uint64_t find(std::uint64_t device, std::uint64_t inode) const EXCLUDES(mutex_);  // 0: none
  void add(std::uint64_t device, std::uint64_t inode, std::uint64_t shown) EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> shown_ GUARDED_BY(mutex_);
};

// Which names some row may have: most look-ups of what has none are answered from here. By hash, in 2 MiB; never
// forgotten while this lives. Names, not paths: a directory's rename changes nothing.
class Names {
 public:
  Status read(sql::Connection& db);  // what the database has
  void add(std::string_view path) noexcept;
  bool may_have(std::string_view path) const noexcept;  // false: no row; true may be wrong

 private:
  static constexpr std::size_t kBits = 1 << 24;
  std::vector<std::atomic<std::uint64_t>> words_ = std::vector<std::atomic<std::uint64_t>>(kBits / 64);
};

struct Tx {
  sql::Connection& db;
  WallNs now_ns = 0;
  bool has_vault = true;
  const PromisedInodes* promised = nullptr;
  std::set<std::string> stages = {};                // to be told to on_job
  bool queue_moved = false;                         // to be told to on_queue
  std::int64_t version = 0;                         // the newest that this transaction made; 0: none
  std::vector<std::string> shown = {};              // to be told to on_shown
  const std::vector<std::string>* hooks = nullptr;  // the event of each configured hook
  bool keeps_trash = false;                         // a deleted file leaves its object there
  Names* names = nullptr;                           // told of every row's before it is committed
};

// --- schema.cpp
inline constexpr int kSchemaVersion = 5;
Status migrate(sql::Connection& db, int to = kSchemaVersion);
// Refuses what is newer than this program, is no catalogue, or (read-only) is older.
Status check_schema(sql::Connection& db, bool read_only);
Error explain_open(Error error, const std::string& path);

// --- tree.cpp
struct Place {
  std::int64_t id = 0;  // 0: none
  bool directory = true;
  bool pinned = false;  // it, or a directory above it
};
// Those that were looked up in one snapshot, for the next look-up in it.
using Directories = std::unordered_map<std::string, Place>;
Result<std::int64_t> resolve(sql::Connection& db, std::string_view path);  // 0: none
// `pinned`, if given, is set where the row or a directory above it bears a pin.
Result<std::string> path_of(sql::Connection& db, std::int64_t id, bool* pinned = nullptr);
Result<std::optional<Node>> load(sql::Connection& db, std::int64_t id);
Result<std::optional<Node>> load(sql::Connection& db, std::string_view path, Directories* known = nullptr);
Result<bool> has_children(sql::Connection& db, std::int64_t id);
Result<std::vector<std::int64_t>> by_inode(sql::Connection& db, std::uint64_t device, std::uint64_t inode);
// The directory's row, made with all that leads to it. not_directory where a file stands in the way.
Result<std::int64_t> ensure_directory(Tx& tx, std::string_view path);
Result<std::int64_t> insert_node(Tx& tx, std::string_view path, const Node& node);  // inode 0: one of our own
// The number for a local file: the promised one, the disk's, or a variation of it that no row keeps. 0: none is left.
Result<std::uint64_t> choose_inode(sql::Connection& db, const Fingerprint& fingerprint, std::int64_t id,
                                   const PromisedInodes* promised);
Status give_inode(Tx& tx, std::int64_t id, const Fingerprint& fingerprint);
Status delete_node(Tx& tx, std::int64_t id);
Status put_local(Tx& tx, std::int64_t id, const Fingerprint& fingerprint, std::int64_t generation);
Status put_vault(Tx& tx, std::int64_t id, const VaultCopy& copy, std::int64_t generation);
Status delete_copy(Tx& tx, std::int64_t id, std::int64_t branch);
struct FileBelow {
  std::int64_t id = 0;
  std::string path;
};
// Every row below `id` (not itself) of the kind, with its path; directories deepest last.
Result<std::vector<FileBelow>> below(sql::Connection& db, std::int64_t id, std::string_view path,
                                     NodeKind kind);

// --- facts.cpp
Status add_change(Tx& tx, ChangeKind kind, std::string_view path, std::string_view from = {});
Status set_content(Tx& tx, const Node& node);  // generation, size, mtime, checksum, sha1 as in `node`
Status set_owner(Tx& tx, const Node& node, std::uint32_t mode, std::uint32_t uid, std::uint32_t gid);
// The object's metadata no longer follows the row's.
Status attributes_moved(Tx& tx, const Node& node);
Status restat_if_asked(Tx& tx, const Node& node, bool mtime_too);
// A file without a local copy is what the vault holds: a new generation with the vault copy's content.
Status follow_vault(Tx& tx, const Node& node, const VaultCopy& copy, bool visible);
Status insert_file(Tx& tx, std::string_view path, const struct stat& st, ChangeKind kind);
// All that was local in it is gone; what the vault has stays, and the directories that lead to it.
Status local_directory_gone(Tx& tx, const Node& node, bool visible);

// --- other_kind.cpp
// Names beside the row's that nothing on the disk has, best first.
std::vector<std::string> aside_names(const Node& node,
                                     const std::function<bool(const std::string& path)>& on_disk);
// The local branch has a file where the row is a directory's, or the other way round: the row makes way. `names`: for
// what the vault alone has.
Status replace_kind(Tx& tx, const Node& node, const std::vector<std::string>& names);

// --- rename.cpp
// The file's life is over: the row goes; what it has, or may be about to have, in the vault is forgotten.
Status end_file(Tx& tx, const Node& node);
Status move_row(Tx& tx, const Node& node, const std::string& to);
// What the journal says was done (later.h). An unset `to`: a removal.
Status apply_later(Tx& tx, const Catalogue::RenameRequest& request);

// --- replacing.cpp
Status note_replacing(Tx& tx, const Replacing& replacing);
Status drop_replacing(Tx& tx, std::string_view to);

// --- vault_facts.cpp
Status put_tombstone(Tx& tx, std::string_view key);
Status delete_tombstone(Tx& tx, std::string_view key);
Result<bool> tombstoned(sql::Connection& db, std::string_view key);
Status forget_key(Tx& tx, std::string_view key);  // tombstone and job
// The file's object stands under `key`: it belongs there, or a job moves it on.
Status settle_key(Tx& tx, const Node& node, const std::string& key);
Result<std::int64_t> key_owner(sql::Connection& db, std::string_view key,
                               std::int64_t other_than);  // 0: none; a lost copy owns nothing
Result<bool> key_in_use(sql::Connection& db, std::string_view key);
// The same under whichever name the object has (vault/names.h).
Result<std::int64_t> object_owner(sql::Connection& db, std::string_view key, std::int64_t other_than);

// --- listing.cpp
VaultCopy unread_copy(const VaultFile& file);
// True: a new row. Where the store takes any key, a name that is taken is marked (vault/names.h). Where is_key_trouble(),
// this key can't be shown, and is skipped.
Result<bool> import_file(Tx& tx, const VaultFile& file);
bool is_key_trouble(ErrorCode code);

// --- folder_markers.cpp
// Another program keeps the folder by an object: it goes when the directory does, or gets another name.
Status note_marker(Tx& tx, std::string_view folder);
Status forget_markers(Tx& tx, std::string_view folder);  // and those below it

// --- trash.cpp
// The file ends, and the vault has an object of it: that waits to be moved to the trash.
Status leave_for_trash(Tx& tx, const Node& node);
// A file's object stands there: what waited there is not the trash's any more.
Status reclaim_from_trash(Tx& tx, std::string_view key);

// --- loss.cpp
// Its object is gone. With a local copy the vault's goes and is made again; without, it stays, marked lost.
Status take_loss(Tx& tx, Node node, const std::string& key);
// An object stands under a lost file's path. REQUIRES: node.vault->lost, copy.key == node.path.
Status take_found(Tx& tx, const Node& node, VaultCopy copy);

// --- pins.cpp
// To be called after whatever changes a row's copies, generation, checksum or pin.
Status refresh_evictable(Tx& tx, std::int64_t id);
Status refresh_evictable_below(Tx& tx, const Node& node);

// --- jobs.cpp
Status enqueue(Tx& tx, const JobSpec& spec);
Status enqueue_for(Tx& tx, std::string_view stage, const Node& node);
Result<bool> outstanding(sql::Connection& db, std::string_view stage, std::int64_t file_id);
Status requeue_running(sql::Connection& db, WallNs now_ns);

// --- hooks.cpp
Status tell_hooks(Tx& tx, std::string_view event, std::string_view path);
// `filed`, if the file that has a row now is one that an organize job took from Incoming.
Status tell_filed(Tx& tx, std::string_view path, std::uint64_t inode);

// --- query.cpp
Result<std::string> setting(sql::Connection& db, std::string_view name);
Status set_setting(Tx& tx, std::string_view name, std::string_view value);
Result<std::int64_t> newest_version(sql::Connection& db);
Status lift_version(Tx& tx, std::int64_t floor);  // the next change has a higher number

Error not_catalogued(std::string_view path);
Error gone(std::int64_t id);
std::uint32_t permission_bits(const struct stat& st);
std::optional<Xxh128> checksum_column(const sql::Statement& row, int column);

}  // namespace mediafs::tier::rows
