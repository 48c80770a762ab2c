// The catalogue: which files exist, which copies of them are proven, what was deleted, what is to be done,
// and the library's changes. One SQLite database (WAL) with one writer thread that commits in groups.
// Threads:    safe from any thread. Writers block until their group is committed; readers use connections of
//             their own. What rename_later() and remove_later() have taken comes before every other call's read and
//             write; a reader waits for it only where it has to do with what is read.
// Owns:       the database, its journal (later.h), its writer thread and its readers.
// Shapes:     a file has a generation, which grows with every new content; a copy carries the generation that
//             it holds. Dirty = no vault copy of the newest generation. Rows form a tree (parent, name), so a
//             directory's rename is one row. Paths: common/path.h.
// Units:      bytes; nanoseconds since 1970.
// Errors:     corrupt, no_space, io; not_found, exists, not_empty, changed (a generation or fingerprint that
//             is no longer the row's) where the call says so.
// Crash:      every call is one transaction; a fact and the jobs that follow from it commit together.
//             Survives kill -9 whole; calls marked durable survive a power cut too when they return, with all that was
//             answered before. A catalogue that was opened for reading only lacks what the journal holds: up to about
//             20 ms beside a daemon (longer while it has thousands of renames to catch up with), and without one what
//             a killed daemon left there, until the next start.
// Invariants: (1) the data version grows by one with each row of the changelog, in the same transaction. (2)
//             a job is removed only by done() or drop(). (3) no transaction spans file or network I/O.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/hash.h"
#include "common/result.h"
#include "tier/catalogue/jobs.h"
#include "tier/catalogue/trash.h"

namespace mediafs::tier {

struct Fingerprint {
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const Fingerprint&) const = default;
  bool same_content_hint(const Fingerprint& o) const {
    return size_bytes == o.size_bytes && mtime_ns == o.mtime_ns;
  }
};
Fingerprint fingerprint_of(const struct stat& st);

enum class NodeKind : std::uint8_t { directory = 1, file = 2 };

struct LocalCopy {
  Fingerprint fingerprint;
  std::int64_t generation = 0;
  WallNs since_ns = 0;
};
struct VaultCopy {
  std::string key;
  std::uint64_t size_bytes = 0;
  WallNs mtime_ns = 0;  // as in the object's metadata
  std::string etag;
  std::int64_t generation = 0;
  std::optional<Xxh128> checksum;  // unset: seen in a listing only, never read: not a proof
  WallNs since_ns = 0;
  bool lost =
      false;  // the object was not there when it was asked for; it is looked for under the file's path
};

struct Node {
  std::int64_t id = 0;
  std::string path;
  NodeKind kind = NodeKind::file;
  std::int64_t generation = 0;
  std::uint64_t size_bytes = 0;  // of the newest generation
  WallNs mtime_ns = 0;
  std::uint32_t mode = 0;  // permission bits (07777)
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t inode = 0;         // st_ino for life
  std::optional<Xxh128> checksum;  // of the newest generation, once computed
  std::string sha1_hex;            // "" until computed
  WallNs last_open_ns = 0;
  bool pinned = false;  // it, or a directory above it
  std::optional<LocalCopy> local;
  std::optional<VaultCopy> vault;

  bool in_vault() const {
    return vault && !vault->lost && vault->generation == generation && vault->checksum &&
           checksum == vault->checksum;
  }
  bool dirty() const { return kind == NodeKind::file && !(vault && vault->generation == generation); }
};

struct Shown {  // what stat says of a row that has no local copy
  NodeKind kind = NodeKind::file;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;
  WallNs mtime_ns = 0;
  WallNs last_open_ns = 0;
  std::uint64_t inode = 0;
  bool operator==(const Shown&) const = default;
};
Shown shown_of(const Node& node);

struct DirEntry {
  std::string name;
  Shown shown;
  bool has_local = false;
  bool has_vault = false;
};

enum class ChangeKind : std::uint8_t { added = 1, changed = 2, renamed = 3, deleted = 4 };
struct Change {
  std::int64_t version = 0;
  ChangeKind kind = ChangeKind::added;
  std::string path;
  std::string from;  // of a rename
  WallNs at_ns = 0;
};

struct BranchTotals {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};
struct Totals {
  BranchTotals local, vault, lost, dirty, pinned, evictable, trash;  // vault: without what is lost
  BranchTotals escaped;  // shown under another name than the vault's key, which can't be one (vault/names.h)
  WallNs oldest_dirty_ns = 0;  // 0: nothing is dirty
};

struct EvictCursor {
  WallNs at_ns = -1;
  std::int64_t id = 0;
  bool operator==(const EvictCursor&) const = default;
};

enum class Adopted : std::uint8_t { unchanged, added, changed, renamed, recheck };

struct AdoptRequest {
  std::string path;
  struct stat st {};    // lstat of the local file or directory
  bool visible = true;  // counts as a change of the library (outside Incoming, not a sidecar)
};

// A rename that has to remove files itself, because what takes their place lies on another branch: they are named,
// durably, before they go, so that the next start finishes what a kill cut off.
struct Replacing {
  std::string from, to;
  std::optional<Fingerprint> local;  // goes from `to` on the local branch
  std::optional<Fingerprint> share;  // goes from `to` on the share
  std::optional<Fingerprint>
      moving;  // what the share renames: nothing counts unless it stands at `to`. Unset: all counts
  std::optional<Fingerprint> source = {};  // the same, of what the local branch renames
  // The share's own copy of a local source: takes its name there, in place of `share` at most.
  std::optional<Fingerprint> follow = {};
};

struct VaultFile {  // an object that a listing shows
  std::string key;
  std::uint64_t size_bytes = 0;
  WallNs mtime_ns = 0;
  std::string etag;
  bool any_key = false;  // see ObjectInfo: a name that is taken may be marked (vault/names.h)
  bool folder = false;
};

struct ShareEntry {  // as the share's server showed it
  std::string name;
  std::uint32_t mode = 0;  // with the type's bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;
  WallNs mtime_ns = 0;
  std::uint64_t inode = 0;
  bool operator==(const ShareEntry&) const = default;
  bool is_directory() const { return S_ISDIR(mode); }
};
inline constexpr std::string_view kVaultListed = "vault.listed";  // a setting: the vault's listing was taken
inline constexpr std::string_view kVaultListedTo =
    "vault.listed_to";                                    // a setting: the last key of one that is not over
inline constexpr std::string_view kVaultId = "vault.id";  // a setting: see tier/vault_identity.h
inline constexpr std::string_view kIncomplete =
    "catalogue.incomplete";  // a setting: see Catalogue::incomplete()

class Catalogue {
 public:
  struct Options {
    std::string path;                 // the database file; its directory exists
    bool read_only = false;           // for commands that read without a daemon, or beside one
    bool has_vault = true;            // whether checksum's outcome calls for an upload
    bool keeps_trash = false;         // a deleted file leaves its object in the trash
    std::uint64_t ballast_bytes = 0;  // held beside the database for when the disk is full
    Clock* clock = &Clock::system();
    std::vector<std::string> hooks = {};                       // the event of each configured hook, in order
    std::function<void(std::string_view stage)> on_job = {};   // after commit, from the writer's thread
    std::function<void(std::int64_t version)> on_change = {};  // likewise, when the data version grew
    std::function<void()> on_queue = {};  // likewise, when jobs came, ended or were paused
    // Likewise: `Shown` of a file became another one, and not by what the mount did: its object was read, say.
    std::function<void(const std::string& path)> on_shown = {};
    // Why it is to be rebuilt: this one takes the place of one that was lost, and is marked so (health.h).
    std::string lost = {};
    std::int64_t version_floor = 0;  // with `lost`: the data version goes on above it
  };
  static Result<std::unique_ptr<Catalogue>> open(Options options);
  ~Catalogue();
  Catalogue(const Catalogue&) = delete;
  Catalogue& operator=(const Catalogue&) = delete;

  // --- reading
  Result<std::optional<Node>> find(std::string_view path);  // a name that no row has: from memory
  Result<std::optional<Node>> find(std::int64_t id);
  Result<std::optional<Node>> find_inode(std::uint64_t device, std::uint64_t inode);  // by local fingerprint
  Result<std::vector<DirEntry>> list(std::string_view dir);  // empty if dir is unknown
  // Grows before a change is answered: what was read after the same moment is as new as all that was answered since.
  std::uint64_t moment() const;
  // Files below `dir` in path order, in pages: paths > `after`. For reconcile, verify, status.
  Result<std::vector<Node>> walk(std::string_view dir, std::string_view after, std::size_t limit);
  Result<bool> is_tombstoned(std::string_view key);
  Result<Totals> totals();
  // Files that may be evicted (in_vault, local, not pinned), least recently opened first, then oldest.
  // In pages: `cursor` says where the last one ended, and is moved on.
  Result<std::vector<Node>> evictable(std::size_t limit, EvictCursor* cursor = nullptr);
  std::int64_t version();
  Result<std::vector<Change>> changes(std::int64_t since, std::size_t limit, bool newest_first);

  // --- facts about files
  // A local file or directory was seen. New: a row, `added`, a checksum job. Known under another path by
  // device and inode while that path's local file is `gone_from` (checked by the caller through
  // `still_there`): renamed, with its vault object's relocation. Size or mtime differ: a new generation,
  // `changed`, a checksum job. Only ctime, device or inode differ: recheck (a checksum job; no change).
  // Directories are rows only to carry mode, owner and inode. A file where a directory was known, or the other way
  // round: what was local there is gone, a file with its object; what the vault alone has is renamed to a free name
  // beside it, `NAME (from the vault)`.
  Result<Adopted> adopt(const AdoptRequest& request,
                        const std::function<bool(const std::string& path)>& still_there);
  // A file below Incoming has settled: its organize job, and the hooks on `arrived` unless that job is there already.
  Status arrived(std::string_view path, std::uint64_t inode);
  // The local file is gone underneath. In the vault: the row stays, vault-only. Else: the row goes,
  // `deleted`.
  Status local_gone(std::string_view path, bool visible);
  // A checksum was computed over the bytes with this fingerprint. changed: the row moved on. On success the
  // local copy takes the fingerprint, and an upload job follows if has_vault and the vault lacks it. A
  // checksum other than the one known for this generation makes a new generation and `changed`.
  Status checksummed(std::int64_t id, std::int64_t generation, const Fingerprint& fingerprint,
                     const Checksums& sums, bool visible);
  // The vault confirmed the object. Where the row was renamed, changed or deleted meanwhile, the right job
  // follows (relocate, upload, forget). Durable.
  Status uploaded(std::int64_t id, std::int64_t generation, const VaultCopy& copy);
  // Evict: the local copy is about to be unlinked. changed: generation, fingerprint or proof are not as
  // asked. Durable.
  Status drop_local(std::int64_t id, std::int64_t generation, const Fingerprint& fingerprint);
  // Fetch: the local copy is back. changed: the generation moved on.
  Status restore_local(std::int64_t id, std::int64_t generation, const Fingerprint& fingerprint);
  // Rename of a file or directory, with everything below. A file at `to` is replaced (its vault object
  // forgotten). `st` is the local file's lstat after the rename; unset if it has none. If `from` is not
  // catalogued and `st` is set, `to` is adopted. Both visible: `renamed`; only `to`: `added` (a directory:
  // each file below is adopted by the caller); only `from`: `deleted`, and cross_device where the vault alone
  // has bytes that would be forgotten with the row. With `replacing`, which is noted too: durable.
  struct RenameRequest {
    std::string from, to;
    std::optional<struct stat> st;
    bool from_visible = true, to_visible = true;
    std::optional<Replacing> replacing = {};
    bool cannot_fail = false;  // see rename_later(); not kept in the journal
  };
  Status rename(const RenameRequest& request);
  // The same, of what the disk has done already, so that nobody asks for its outcome: one write(2) into the journal, the
  // transaction a few ms later. What would fail there is logged. A directory, and what the journal has no room for, is
  // renamed at once; so is what no local file stands for, unless it cannot fail: the row at `from` is a file's, none is
  // at `to` in the same directory, both are visible, and the caller's claims keep it so.
  Status rename_later(const RenameRequest& request);
  // Two catalogued paths have taken each other's names, with everything below: two renames. The stats are those of the
  // local files that stand at the names now.
  struct ExchangeRequest {
    std::string one, other;
    struct stat at_one {
    }, at_other{};
  };
  Status exchange(const ExchangeRequest& request);
  Status replacing(const Replacing& replacing);  // durable
  Result<std::vector<Replacing>> replacings();
  Status replaced(std::string_view to);  // nothing is left to be removed there
  // The rename did not happen after all: what is at `to` gets its old name back, and `target`, the file that was
  // there, its row, with the object unless another file's has taken its place. The note goes. Durable.
  Status call_off(const RenameRequest& request, const std::optional<Node>& target);
  // unlink or rmdir: the row goes; a vault object gets a tombstone and a forget job. Success if it is not
  // catalogued. not_empty: a directory that has visible children in the catalogue.
  Status remove(std::string_view path, bool visible);
  Status remove_later(std::string_view path, bool visible);  // likewise. REQUIRES: it is no directory
  // mkdir of a directory that only the vault branch shows needs nothing; chmod, chown, utimens of a
  // vault-only file:
  struct Attributes {
    std::optional<std::uint32_t> mode, uid, gid;
    std::optional<WallNs> mtime_ns;
  };
  Status set_attributes(std::string_view path, const Attributes& attributes);  // and a restat job
  // A file, or a directory with everything that is or will be below it. invalid: a directory above it is pinned, so
  // that it stays so.
  Status set_pinned(std::string_view path, bool pinned);
  Status unpin_below(std::string_view path);  // the marks below it go too
  // st_ino of a local file that has no row yet, and will have in its row: the number on disk, unless a file that is not
  // on the disk any more keeps it.
  Result<std::uint64_t> new_inode(std::uint64_t device, std::uint64_t inode);
  void opened(std::int64_t id, WallNs at_ns);  // remembered, written with a later group
  void opened(std::string_view path, WallNs at_ns);

  // --- facts about the vault
  // A page of a listing: unknown keys without tombstone become vault-only files. Returns how many were new. Where the
  // store takes any key and the tree has something else of an object's name, a file's is marked; so is a directory's above
  // it, if a local file has that name.
  // `listed_to`, if given, becomes kVaultListedTo with them.
  Result<std::size_t> import_listing(const std::vector<VaultFile>& page, std::string_view listed_to = {});
  // A vault-only file's first HEAD: metadata, and the checksum that it carries.
  Status refine_vault(std::int64_t id, const VaultCopy& copy, std::uint32_t mode, std::uint32_t uid,
                      std::uint32_t gid);
  // relocate's outcome: the object stands under `copy.key` now; what it left at `old_key` is forgotten by a
  // job.
  Status relocated(std::int64_t id, const std::string& old_key, const VaultCopy& copy);
  // The object is not there any more (it was deleted by somebody else). With a local copy the vault's goes and
  // an upload job follows. Without one the copy stays, marked lost: the file stays listed. REQUIRES: the vault
  // was found to be ours after it had said so (vault_identity.h).
  Status vault_lost(std::int64_t id, const std::string& key);
  // A lost file's object stands under its path again: found. Does nothing for a file that is not lost.
  Status vault_found(std::int64_t id, const VaultCopy& copy);
  // The vault is another one now: every vault copy counts as lost, and the next first contact lists the vault.
  Status vault_replaced();
  // Some keys (and sizes) that the vault should hold, the newest first.
  Result<std::vector<VaultFile>> vault_sample(std::size_t limit);
  // Whether some row's newest vault copy stands (or will stand) under this key: asked before a key is
  // deleted. REQUIRES: the caller holds the key's claim (Claims::key_claim) until it has deleted and called
  // forgotten(), as whoever writes an object holds it until uploaded() or relocated() has returned.
  Result<bool> key_in_use(std::string_view key);
  // The file whose object stands under this key now, whatever its path is; 0: none. Asked before an object is
  // written: that of another file, renamed and not yet relocated, must not be overwritten; it is relocated
  // first. (Two files that took each other's names need a key in between: relocated() takes any.)
  Result<std::int64_t> key_owner(std::string_view key);
  Status forgotten(std::string_view key);  // the object is gone: the tombstone may go

  // --- the trash (trash.h). Each changing call is durable.
  // Waiting or kept, the newest first, in pages: ids < `before` (0: all). `below`: of this file, or of all below it.
  Result<std::vector<TrashEntry>> trash(std::string_view below, std::int64_t before, std::size_t limit);
  Result<std::optional<TrashEntry>> trash_entry(std::int64_t id);
  Result<std::optional<TrashEntry>> trash_waiting(std::string_view source);
  // What is going, and with it what was deleted before `deleted_before` or at it: ids > `after`, ascending.
  Result<std::vector<TrashEntry>> trash_due(WallNs deleted_before, std::int64_t after, std::size_t limit);
  // An object that no row knows waits under `entry.source`, unless one does already; `at_ns` and `key` are chosen here.
  Status trash_stray(const TrashEntry& entry);
  // Its object stands under `entry.key`, with what `entry` says of it. changed: it does not wait any more.
  Status trash_kept(const TrashEntry& entry);
  // Nobody gets them back any more. The object of one that waits is forgotten by its job.
  Status trash_going(const std::vector<std::int64_t>& ids);
  Status trash_gone(const std::vector<std::int64_t>& ids);  // nothing stands under their keys: the rows go
  // The object of a kept one stands under `copy.key` now: a file of that path, which the vault alone has; the entry is
  // going. exists, not_directory: the path is not free. changed: it is not there any more, or waits.
  Status trash_restored(const TrashEntry& entry, const VaultCopy& copy, bool visible);
  // Somebody else's copy is about to be made under a key that no row knows: a job clears away what a kill leaves there.
  Status trash_restoring(std::string_view key);
  // Found in the vault by their keys: those which no row has are kept from now on. Not durable by itself.
  Status trash_found(const std::vector<TrashEntry>& entries);

  // --- the share's entries as they were last seen, for the time in which it does not answer. No rows of the library.
  Result<std::vector<ShareEntry>> share_entries(std::string_view dir);  // by name; empty if dir is unknown
  Result<std::optional<ShareEntry>> share_entry(std::string_view path);
  // All that a directory has now: what it had besides is forgotten, with all below it.
  Status remember_share(std::string_view dir, std::vector<ShareEntry> entries);
  Status forget_share(std::string_view path);  // and all below it
  Status share_renamed(std::string_view from, std::string_view to);

  // --- small durable settings: kVaultListed, "pause.upload", …
  Result<std::string> setting(std::string_view name);  // "" if unset
  Status set_setting(std::string_view name, std::string_view value);

  Jobs& jobs();
  Status sync();                                   // all that was answered before survives a power cut
  Status check(const std::stop_token& stop = {});  // PRAGMA quick_check
  // A whole copy, as of now; it blocks no writer.
  Status backup_to(const std::string& file, std::stop_token stop = {});

  // Why this catalogue does not have all that the library has; "": it is whole. Until it is rebuilt nothing in the vault
  // is changed or believed.
  std::string incomplete() const;
  Status completed();  // durable
  // SQLite found it damaged since it was opened: it goes on as well as it can, and the next start looks at all of it.
  bool damaged() const noexcept;

 private:
  struct Impl;
  explicit Catalogue(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mediafs::tier
