// What the operation families share: the branches as one tree, the tables, and the pools that slow work moves to.
// Threads:    safe from any thread. What takes a May answers needs_*() instead of blocking where it may not.
// Borrows:    Branches, Streams, Mover (they outlive it).
// Invariants: (1) a body answers needs_*() before its first change, so that it can start over on a pool's thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "common/pool.h"
#include "fs/control_files.h"
#include "fs/handle_table.h"
#include "fs/listings.h"
#include "fs/negotiate.h"
#include "fs/node_table.h"
#include "fs/passthrough.h"
#include "fs/reply.h"
#include "fs/share_branch.h"
#include "fs/share_memory.h"
#include "fs/shown.h"
#include "fs/tree.h"
#include "fs/turns.h"
#include "tier/mover.h"
#include "tier/stream.h"

namespace mediafs::fs {

// What others may change without our being told; and what we are told of.
inline constexpr double kShortTimeout_s = 1;
inline constexpr double kLongTimeout_s = 86'400;

// How far a body may go on the thread that it runs on.
enum class Level : std::uint8_t {
  now,    // a FUSE thread: memory, local disk, catalogue reads and short commits
  block,  // claims, leases, a look at the share
  share,  // what the share must answer
  vault,  // bytes of vault files
  fetch,  // whole files from the vault
  space,  // waiting for eviction
};
struct May {
  Level level = Level::now;
  std::stop_token stop = {};  // the caller was interrupted, or the mount ends
};
Error needs(Level level);
bool is_sick(const Error& error) noexcept;  // the share did not answer: what is remembered counts
std::optional<Level> needed(const Error& error) noexcept;  // set for what needs() made

class VaultReader;

struct FileHandle {
  NodeId node = 0;
  Branch branch = Branch::none;
  int flags = 0;
  std::atomic<bool> cut_short{false};        // its last write found no room
  std::atomic<bool> marked{false};           // as unfinished, by this handle or by one that is closed
  Fd fd;                                     // local
  Passthrough::Use service;                  // who reads and writes: the kernel or we
  std::shared_ptr<ShareBranch::File> share;  // share
  std::shared_ptr<VaultReader> vault;        // vault
  std::shared_ptr<const std::string> text;   // control
};

struct DirHandle {
  NodeId node = 0;
  Mutex mutex;
  Items items GUARDED_BY(mutex);
};

struct Found {
  Branch branch = Branch::none;
  struct stat st {};
  std::uint64_t shown_inode = 0;  // where it is known
  std::optional<tier::Node> row;  // where it was asked for: on the vault branch always, but from a listing
  bool remembered = false;        // the share did not say so now
};
struct stat stat_of(const tier::Shown& shown);

class Core {
 public:
  struct Options {
    tier::Branches& branches;
    tier::Streams* streams;
    tier::Mover* mover;
    std::function<std::string()> status_json, jobs_json;
    std::chrono::milliseconds vault_deadline;
    std::function<bool()> vault_answers;
    std::chrono::milliseconds space_limit;
    bool passthrough = true;
  };
  static Result<std::unique_ptr<Core>> create(Options options);
  ~Core();
  // Waits for the answers that are under way, but for those of writers that wait for space. True: all are given.
  bool drain(std::chrono::milliseconds limit) EXCLUDES(under_way_mutex_);
  void shut_down();  // ends what waits, answers what is under way; no request may follow

  // --- the union (union.cpp)
  // Where a path stands: local, share, vault. not_found; offline where only the sick share, `last` seen, could say.
  Result<Found> resolve(const std::string& path, const May& may, Branch last = Branch::none);
  Result<Found> resolve_vault(const std::string& path);
  Result<std::vector<DirItem>> list(const std::string& path, const May& may);
  // The directory `path` on local, made with the other branches' attributes where only they have it.
  Status ensure_local_directory(const std::string& path, const May& may);
  // Gives what was just made on local the mode and owner of what it stands for.
  Status make_like(const std::string& path, const struct stat& st);
  // An empty file on local takes the place of what the vault has at `path`, for `writer`, who may not keep its set-id bits.
  Status replace_with_empty(const std::string& path, const Found& found, uid_t writer, const May& may);
  // A name came or went there, but not on the local branch, whose times the directory shows: they are now.
  void names_changed(const std::string& directory);
  // Room for `bytes` more on the local branch: now, or on a thread that may wait for eviction (bounded).
  Status room_for(std::uint64_t bytes, const May& may);
  // Whether a file may be opened for writing that we don't see: only far above the reserve.
  bool room_for_unseen_writer();
  // Brings a vault-only file to the SSD.
  Status fetch(const std::string& path, const May& may);
  Result<tier::Claims::Claim> claim(std::vector<std::string> paths, const May& may);
  // The names' paths, claimed: until the claim goes no directory above them gets another name. Whatever makes, moves or
  // removes a name changes the disk and the node table under one claim.
  struct Claimed {
    std::vector<std::string> paths;
    tier::Claims::Claim claim;
  };
  Result<Claimed> claim_names(const std::vector<NodeTable::Name>& names, const May& may);
  // `act` on the path that `path_now` answers; once more where nothing was found there because a directory above was
  // being renamed: who holds the claim has finished with it when this one gets it.
  template <class PathNow, class Act>
  auto steadily(PathNow path_now, const May& may, Act act) -> decltype(act(std::string())) {
    constexpr int kMostRenames = 100;
    for (int turn = 1;; ++turn) {
      const std::uint64_t before = nodes.renames();
      MEDIAFS_ASSIGN(const std::string path, path_now());
      auto result = act(path);
      if (result || result.error().code != ErrorCode::not_found || turn == kMostRenames) return result;
      const auto settled = claim({path}, may);
      if (!settled) return needed(settled.error()) ? decltype(result)(settled.error()) : std::move(result);
      if (nodes.renames() == before) return result;  // not the path: there and back again is the same one
    }
  }
  // Somebody's open file of that node, also where it has no name; null: none is `wanted`.
  template <class Wanted>
  std::shared_ptr<FileHandle> handle_of(NodeId node, Wanted wanted) const {
    for (const std::uint64_t id : nodes.handles(node)) {
      auto handle = files.get(id);
      if (handle && handle->node == node && wanted(*handle))
        return handle;  // directories have numbers of their own
    }
    return nullptr;
  }
  std::shared_ptr<FileHandle> local_handle(NodeId node) const {
    return handle_of(node, [](const FileHandle& h) { return h.branch == Branch::local; });
  }
  Result<std::string> path_of(NodeId node) const;  // stale: it has no name any more
  Result<std::string> path_of(NodeId parent, const std::string& name) const;
  bool is_control(std::string_view path) const { return b.is_state(path); }
  bool share_usable() const { return share && share->usable(); }
  // What the share has there, asked before it is changed. offline: it had something, and does not answer.
  Result<std::optional<struct stat>> on_share(const std::string& path, const May& may);
  // What can be answered without the share too, by its memory once that is whole; is_sick() then. REQUIRES: share.
  template <class T>
  Result<T> look_at_share(std::function<Result<T>(int root)> work, const May& may) {
    if (!share_memory->whole()) return ask_share<T>(std::move(work), may);
    if (may.level == Level::now) return needs(Level::block);
    return share->look<T>(std::move(work), may.stop);
  }
  // What only the share itself can do or say. REQUIRES: share.
  template <class T>
  Result<T> ask_share(std::function<Result<T>(int root)> work, const May& may) {
    if (may.level < Level::share) return needs(Level::share);
    return share->call<T>(std::move(work), may.stop);
  }

  // --- answers
  // The node of what stands at (parent, name), with one lookup for the kernel; the caller sends it or forgets it.
  Result<fuse_entry_param> entry(NodeId parent, const std::string& name, const std::string& path,
                                 Found found);
  Result<fuse_entry_param> new_entry(NodeId parent, const std::string& name,
                                     const std::string& path);  // local
  fuse_entry_param nameless_entry(const struct stat& st);       // of a new local file
  struct Attributes {
    struct stat st {};
    double timeout_s = kShortTimeout_s;
    std::optional<struct timespec> birth = {};  // where somebody asked for it, and a branch knows
  };
  // stale: the name stands for something else now, or for nothing; the kernel looks it up again.
  Result<Attributes> attributes(NodeId node, std::shared_ptr<FileHandle> handle, const May& may);
  // What is remembered of a file of the share that somebody writes to gives way to what his handle says.
  Status ask_writer(NodeId node, Found& found, const May& may);
  // For how long the kernel may believe what stands there, and its attributes.
  double entry_timeout(Branch branch) const;
  double attribute_timeout(const Found& found) const;
  std::uint64_t shown_inode(NodeId node, const std::string& path, const Found& found);

  // --- running a request: `body` on this thread, and over again on a pool's where it says that it must.
  // body: Result<T>(const May&); done: void(R&, T) or void(R&) for Status.
  template <class R, class Body, class Done>
  void serve(R reply, Body body, Done done) {
    auto result = body(May{});
    if (!result) {
      if (auto level = needed(result.error())) {
        return move_on(*level, std::make_shared<R>(std::move(reply)), std::move(body), std::move(done));
      }
      return reply.fail(result.error());
    }
    finish(reply, std::move(result), done);
  }

  tier::Branches& b;
  tier::Streams* const streams;
  tier::Mover* const mover;
  const std::chrono::milliseconds vault_deadline;
  const std::function<bool()> vault_answers;
  const std::chrono::milliseconds space_limit;
  const Shown shown_as;
  Fd local_root;
  dev_t local_device = 0;
  std::unique_ptr<ShareBranch> share;
  std::unique_ptr<ShareMemory> share_memory;  // set where share is
  fuse_session* session = nullptr;
  Negotiation negotiation;
  Turns turns{[this] { return fuse_session_exited(session) != 0; }, is_brief};
  Passthrough passthrough;
  bool stateless_directories = false;                         // said by init()
  std::atomic<bool> trusted{false};                           // changes underneath are told: see Invalidator
  std::function<void(NodeId directory)> short_listing;        // its listing is good for a second
  std::function<void(const std::string&path)> doing, undone;  // see Invalidator
  NodeTable nodes;
  HandleTable<FileHandle> files;
  HandleTable<DirHandle> dirs;
  Listings listings;
  ControlFiles control;

 private:
  explicit Core(Options options);
  Result<struct stat> attributes_of(NodeId node, FileHandle& handle, const May& may);
  Result<Attributes> attributes_at(NodeId node, const std::string& path, const May& may);
  bool room_may_come();
  Result<std::optional<std::vector<tree::Item>>> list_share(const std::string& path, const May& may);
  Pool* pool(Level level);
  std::shared_ptr<void> count(Level level) EXCLUDES(under_way_mutex_);  // under way while that lives

  template <class R, class T, class Done>
  static void finish(R& reply, T result, Done& done) {
    if constexpr (std::is_same_v<T, Status>) {
      done(reply);
    } else {
      done(reply, std::move(*result));
    }
  }

  template <class R, class Body, class Done>
  void move_on(Level level, std::shared_ptr<R> reply, Body body, Done done) {
    const std::shared_ptr<void> under_way = count(level);
    auto task = [this, level, reply, body, done, under_way]() mutable {
      std::stop_source interrupt = reply->interrupt();
      std::stop_callback on_end(ending_.get_token(), [&interrupt] { interrupt.request_stop(); });
      auto result = body(May{level, interrupt.get_token()});
      if (!result) {
        if (auto next = needed(result.error()); next && *next > level) {
          return move_on(*next, reply, std::move(body), std::move(done));
        }
        return reply->fail(result.error());
      }
      finish(*reply, std::move(result), done);
    };
    if (auto submitted = pool(level)->submit(std::move(task)); !submitted) reply->fail(submitted.error());
  }

  std::stop_source ending_;
  Mutex under_way_mutex_;
  CondVar answered_;
  std::size_t under_way_ GUARDED_BY(under_way_mutex_) = 0;
  std::unique_ptr<Pool> block_, share_, vault_, fetch_, space_;
};

}  // namespace mediafs::fs
