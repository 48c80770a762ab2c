// The inside of Streams: blocks in memory, transfers under way, and which streams want them. One mutex guards it all:
// it is held for moments only, never across I/O, a callback or the copying of bytes.
// Threads:    on_bytes and on_done run on the vault's threads, written() on the block cache's; the rest on readers'.
// Invariants: (1) a block is in memory, in the cache, or missing; between memory and cache it is in both; (2) a block
//             that is loading belongs to one transfer, which alone writes to it, beyond `filled`; (3) a transfer that
//             somebody waits for is not cancelled; (4) what the cache has too stays in memory until it was read to its
//             end, so that a reader who follows closely needs no disk, but never more than a quarter of the memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "common/sync.h"
#include "tier/block_cache.h"
#include "tier/distance.h"
#include "tier/read_ahead.h"
#include "tier/stream.h"
#include "tier/vault/vault.h"

namespace mediafs::tier::streaming {

struct Object;
struct Transfer;
class StreamCore;

struct FreeBuffer {
  void operator()(std::byte* buffer) const noexcept;
};
using Buffer = std::unique_ptr<std::byte[], FreeBuffer>;

// Buffers of one block each, as aligned as the disk likes it, counted, and a few kept for the next.
class Buffers {
 public:
  Buffer get() EXCLUDES(mutex_);
  void put(Buffer buffer) EXCLUDES(mutex_);
  std::atomic<std::uint64_t> used_bytes{0};

 private:
  Mutex mutex_;
  std::vector<Buffer> spare_ GUARDED_BY(mutex_);
};

struct Loose {  // a block of memory that may go when room is needed
  std::shared_ptr<Object> object;
  std::uint64_t block;
};

struct MemoryBlock {
  MemoryBlock(std::shared_ptr<Buffers> from, std::size_t bytes) : buffers(std::move(from)), size(bytes) {
    buffers->used_bytes += kBlockBytes;
  }
  ~MemoryBlock() {
    buffers->used_bytes -= kBlockBytes;
    if (data) buffers->put(std::move(data));
  }
  MemoryBlock(const MemoryBlock&) = delete;
  MemoryBlock& operator=(const MemoryBlock&) = delete;

  const std::shared_ptr<Buffers> buffers;
  const std::size_t size;
  Buffer data;  // made by the transfer with the first bytes
  std::size_t filled = 0;
  Transfer* transfer = nullptr;  // while loading
  bool consumed = false;         // read to its end: of little further use
  bool kept = false;             // the cache has it, too
  std::optional<std::list<Loose>::iterator> loose;
};

struct Waiter {  // a read under way
  CondVar wake;
  std::uint64_t begin = 0, end = 0;  // what it reads
  std::uint64_t until = 0;           // up to where it needs bytes of the transfer that it waits for
  std::optional<Error> missed;       // of a transfer that failed before the read came to wait for it
};

struct StreamState {  // of one handle
  ReadAhead ahead;
  bool opened = false;  // the first read was seen
};

struct Transfer : std::enable_shared_from_this<Transfer> {
  std::shared_ptr<Object> object;
  std::uint64_t first_block = 0;
  std::uint64_t offset = 0, size = 0;
  std::vector<std::shared_ptr<MemoryBlock>> blocks;
  std::uint64_t got = 0;
  SteadyTime asked{};  // when
  bool too_long = false;
  bool finished = false;
  bool cancelled = false;
  std::optional<Error> error;
  std::optional<std::uint64_t> read;  // the vault's number
  std::vector<StreamState*> owners;
  std::vector<Waiter*> waiters;
  std::uint64_t end() const { return offset + size; }
};

struct Object {
  CachedObject name;
  BlockCache::Ref entry;  // none without an etag: then nobody could tell another version
  std::unordered_map<std::uint64_t, std::shared_ptr<MemoryBlock>> blocks;
  std::list<std::shared_ptr<Transfer>> transfers;
  std::vector<Waiter*> reading;
  std::optional<Error> changed;
  bool failing = false;  // the last transfer failed: no reading ahead
  std::size_t streams = 0;
};

class StreamCore {
 public:
  StreamCore(Streams::Options options, Vault& vault, std::unique_ptr<BlockCache> cache);
  ~StreamCore();  // cancels what runs and waits for it
  StreamCore(const StreamCore&) = delete;
  StreamCore& operator=(const StreamCore&) = delete;

  std::shared_ptr<Object> open(const CachedObject& name) EXCLUDES(mutex_);
  void close(const std::shared_ptr<Object>& object, StreamState& stream) EXCLUDES(mutex_);
  // Before a read of [waiter.begin, waiter.end): what it needs and what comes after it is asked for, what a seek made
  // useless is cancelled. finish() follows.
  void prepare(const std::shared_ptr<Object>& object, StreamState& stream, Waiter& waiter) EXCLUDES(mutex_);
  void finish(const std::shared_ptr<Object>& object, Waiter& waiter) EXCLUDES(mutex_);
  struct Into {
    std::span<std::byte> room;  // for what is on the disk
    Pieces* pieces;             // what was found is appended
  };
  // Some bytes of [offset, offset + room.size()); waits for them. An error may be worth another try.
  Result<std::size_t> read_some_of(const std::shared_ptr<Object>& object, StreamState& stream,
                                   std::uint64_t offset, const Into& into, Waiter& waiter,
                                   SteadyTime deadline, const std::stop_token& stop) EXCLUDES(mutex_);
  // Waits until `time` or the stop token. False: stopped.
  bool pause(Waiter& waiter, SteadyTime time, const std::stop_token& stop) EXCLUDES(mutex_);
  void wake(Waiter& waiter) EXCLUDES(mutex_);
  void served(std::uint64_t bytes) { served_bytes_ += bytes; }
  BlockCache& cache() { return *cache_; }
  StreamStats stats() const;

 private:
  using Starts = std::vector<std::shared_ptr<Transfer>>;
  using Cancels = std::vector<std::uint64_t>;
  struct Ask {
    std::uint64_t begin = 0, end = 0;
    std::uint64_t must =
        0;  // up to here it is needed, the rest is asked for only if memory and connections allow
    std::uint64_t segment_bytes = ReadAhead::kLargestSegment;
  };
  // Makes transfers for what is missing; how far it got.
  std::uint64_t ask(const std::shared_ptr<Object>& object, StreamState& stream, const Ask& range,
                    Starts* starts) REQUIRES(mutex_);
  std::uint64_t missing_run(const Object& object, std::uint64_t block, std::uint64_t most) REQUIRES(mutex_);
  std::shared_ptr<Transfer> make_transfer(const std::shared_ptr<Object>& object, StreamState& stream,
                                          std::uint64_t block, std::uint64_t count) REQUIRES(mutex_);
  void want(Object& object, StreamState& stream, std::uint64_t begin, std::uint64_t end) REQUIRES(mutex_);
  void unwant(Object& object, StreamState& stream, std::uint64_t begin, std::uint64_t end, Cancels* cancels)
      REQUIRES(mutex_);
  bool needed(const Transfer& transfer, const Waiter* but = nullptr) const REQUIRES(mutex_);
  void abandon(Transfer& transfer, Cancels* cancels) REQUIRES(mutex_);
  void leave(Transfer& transfer) REQUIRES(mutex_);
  void run(const Starts& starts, const Cancels& cancels) EXCLUDES(mutex_);
  void start(const std::shared_ptr<Transfer>& transfer) EXCLUDES(mutex_);
  bool on_bytes(Transfer& transfer, std::span<const std::byte> bytes) EXCLUDES(mutex_);
  void on_done(const std::shared_ptr<Transfer>& transfer, const Status& status) EXCLUDES(mutex_);
  void keep(const Transfer& transfer, std::size_t first, std::size_t last) EXCLUDES(mutex_);
  void written(const std::shared_ptr<Object>& object, std::uint64_t block,
               const std::shared_ptr<MemoryBlock>& memory, bool ok) EXCLUDES(mutex_);
  Status wait_for(const std::shared_ptr<Transfer>& transfer, Waiter& waiter, SteadyTime deadline,
                  const std::stop_token& stop, Cancels* cancels) REQUIRES(mutex_);
  std::size_t owned(const Object& object, const StreamState& stream) const REQUIRES(mutex_);
  void make_loose(const std::shared_ptr<Object>& object, std::uint64_t block, MemoryBlock& memory)
      REQUIRES(mutex_);
  std::list<Loose>& list_of(const MemoryBlock& memory) REQUIRES(mutex_);
  void consume(MemoryBlock& memory) REQUIRES(mutex_);
  void drop_loose(MemoryBlock& memory) REQUIRES(mutex_);
  void drop_front(std::list<Loose>& list) REQUIRES(mutex_);
  bool drop_one(bool only_useless) REQUIRES(mutex_);
  std::uint64_t room(std::uint64_t wanted) REQUIRES(mutex_);

  const Streams::Options options_;
  Vault& vault_;
  const std::shared_ptr<Buffers> buffers_ = std::make_shared<Buffers>();
  mutable Mutex mutex_;
  CondVar drained_;
  std::map<std::tuple<std::string, std::string, std::uint64_t>, std::shared_ptr<Object>> objects_
      GUARDED_BY(mutex_);
  std::list<Loose> loose_ GUARDED_BY(mutex_);  // only memory has them; the most useless first
  std::list<Loose> kept_ GUARDED_BY(mutex_);   // the cache has them, too; the oldest first
  std::size_t under_way_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  Distance distance_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> requests_{0}, fetched_bytes_{0}, served_bytes_{0};
  std::unique_ptr<BlockCache> cache_;  // last: its thread calls written() until it is gone
};

}  // namespace mediafs::tier::streaming
