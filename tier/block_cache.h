// The block cache: the parts of vault files that somebody has read, as sparse files on the local disk.
// Threads:    safe from any thread. put() never blocks: one thread of the cache's own changes the disk. shrink() waits
//             for that thread, so `may_write` and `done` must not call it.
// Owns:       its directory (block_file.h says what is in it).
// Shapes:     blocks and extents as in block_file.h; an object is attached while a stream is open on it.
//             Runs of half a MiB and more are written past the kernel's pages, where the file system can: reading
//             those back is the disk's.
// Units:      bytes; block numbers.
// Errors:     only from open(). What can't be written is not cached; what can't be read back is not here.
// Crash:      a block counts as present after a restart only if its bytes were on disk before its bit was.
// Invariants: (1) cached bytes <= the limit; (2) a block's bit is cleared on disk before its bytes go; (3) an extent
//             that is being read is not dropped; (4) an object's first and last 2 MiB go last, unless such ends fill
//             half of the limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "common/clock.h"
#include "common/fd.h"
#include "common/result.h"
#include "common/sync.h"
#include "tier/block_file.h"
#include "tier/stream.h"

namespace mediafs::tier {

class BlockCache {
 public:
  struct Options {
    std::string directory;
    std::uint64_t limit_bytes = 0;
    std::uint64_t queue_bytes = 64ULL << 20;  // given to put() and not yet written
    std::function<bool(std::uint64_t bytes)> may_write = {};
  };
  class Entry;
  using Ref = std::shared_ptr<Entry>;
  using Bytes = std::shared_ptr<const std::byte>;
  using Done = std::function<void(bool written)>;  // runs on the cache's thread

  static Result<std::unique_ptr<BlockCache>> open(Options options);
  ~BlockCache();  // writes what waits
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  Ref attach(const CachedObject& object);  // drops other versions that nobody has open
  void detach(const Ref& entry);
  // How many blocks from `block` on are all here (or, with `here` false, are all missing); at most `most`.
  std::uint64_t run(const Ref& entry, std::uint64_t block, std::uint64_t most, bool here = true) const;
  // Copies what is here from `offset` on without a gap; 0: the block at `offset` is not here.
  std::size_t read(const Ref& entry, std::uint64_t offset, std::span<std::byte> into);
  // False: the queue is full or the object isn't cached; `done` is not called then.
  bool put(const Ref& entry, std::uint64_t block, Bytes bytes, Done done);
  void forget(const std::string& key);  // unless attached
  void drop(const Ref& entry);          // attached or not: its blocks are not to be trusted
  std::uint64_t shrink(std::uint64_t bytes);
  void flush();  // waits until all that was put is on disk, bits too
  std::uint64_t cached_bytes() const;
  std::uint64_t limit_bytes() const { return options_.limit_bytes; }

 private:
  using Identity = std::tuple<std::string, std::string, std::uint64_t>;  // key, etag, size
  struct Place {
    Entry* entry;
    std::uint64_t extent;
  };
  struct Extent {
    std::uint32_t present = 0;  // a bit for each block that can be read
    std::uint32_t durable = 0;  // as the map on disk has it
    int pins = 0;
    std::list<Place>::iterator at;
  };
  using Extents = std::map<std::uint64_t, Extent>;
  struct Item {
    Ref entry;
    std::uint64_t block = 0;
    Bytes bytes;
    Done done;
  };
  struct Request {  // of a thread that waits for the writer
    std::uint64_t shrink_bytes = 0;
    bool flush = false;
    std::uint64_t freed_bytes = 0;
    bool finished = false;
  };
  struct Victim {
    Ref entry;
    std::vector<std::uint64_t> extents;
    bool durable = false;  // any of them is in the map on disk
  };

  BlockCache(Options options, Fd directory);
  void load();
  void adopt(LoadedMap loaded) EXCLUDES(mutex_);
  void work() noexcept;
  bool next(std::vector<Item>* items, std::vector<Ref>* dropped, std::vector<Ref>* closing, Request** request)
      EXCLUDES(mutex_);
  void write(std::vector<Item> items);
  bool store(std::span<const Item> run);
  Status write_run(std::span<const Item> run, std::uint64_t size_bytes);
  bool make_room(std::uint64_t bytes);
  std::uint64_t evict(std::uint64_t bytes);
  std::vector<Victim> choose(std::uint64_t bytes, std::uint64_t* freed) REQUIRES(mutex_);
  Status clear_on_disk(const Victim& victim);
  void sync_dirty();
  void sync(const Ref& entry);
  void close_if_unused(const Ref& entry);
  Result<std::shared_ptr<BlockFiles>> files(const Ref& entry, bool create);
  void drop_locked(const Ref& entry) REQUIRES(mutex_);
  void touch(Entry& entry, Extents::iterator at) REQUIRES(mutex_);
  std::list<Place>& list_of(const Entry& entry, std::uint64_t extent) REQUIRES(mutex_);
  void lose(Entry& entry, Extents::iterator at) REQUIRES(mutex_);
  Extents::iterator gain(Entry& entry, std::uint64_t extent, std::uint32_t bits) REQUIRES(mutex_);

  const Options options_;
  const Fd directory_;
  mutable Mutex mutex_;
  CondVar wake_;      // the writer
  CondVar finished_;  // those who wait for the writer
  std::map<Identity, Ref> entries_ GUARDED_BY(mutex_);
  std::list<Place> middles_ GUARDED_BY(mutex_);  // the least recently used first
  std::list<Place> ends_ GUARDED_BY(mutex_);
  std::uint64_t cached_bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t ends_bytes_ GUARDED_BY(mutex_) = 0;
  std::deque<Item> queue_ GUARDED_BY(mutex_);
  std::uint64_t queue_bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<Ref> dropped_ GUARDED_BY(mutex_);  // out of the index; the writer removes their files
  std::vector<Ref> closing_ GUARDED_BY(mutex_);
  std::deque<Request*> requests_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  // The writer's own:
  std::vector<Ref> dirty_;
  std::uint64_t dirty_bytes_ = 0;
  SteadyTime dirty_since_{};
  SteadyTime paused_until_{};  // after a write failed: a full disk is not asked again at once
  std::thread writer_;
};

// One object's part of the index. Everything in it is guarded by the cache's mutex.
class BlockCache::Entry {
  friend class BlockCache;
  CachedObject object_;
  Extents extents_;
  std::shared_ptr<BlockFiles> files_;  // while attached or in use
  int users_ = 0;
  std::size_t queued_ = 0;
  bool on_disk_ = false;
  bool dropped_ = false;  // out of the index for good
  bool dirty_ = false;    // in the writer's dirty list

 public:
  explicit Entry(CachedObject object) : object_(std::move(object)) {}
};

}  // namespace mediafs::tier
