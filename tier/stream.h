// Reading vault files: streams over the block cache. A stream belongs to one open handle and tells a sequential
// reader (whose window of read-ahead grows) from a seeking one (whose useless transfers are cancelled).
// Threads:    Streams is safe from any thread. A Stream may be read from several threads at once. Streams outlives its
//             Stream objects; shrink() waits for the disk and must not be called from may_write.
// Owns:       the block cache's directory and its sparse files. Borrows the Vault (outlives it).
// Shapes:     block = 64 KiB, the last one short: small reads fetch little. A cached object is named by (key, etag,
//             size): another version of the object is another cached object. Without an etag nothing goes to disk.
// Units:      bytes.
// Errors:     not_found, offline, timeout (the deadline passed), changed (the object is another one now), corrupt,
//             cancelled, io.
// Crash:      a block counts as present only after its bytes are on disk.
// Invariants: (1) cached bytes <= the limit, but for what open streams are about to use; (2) two readers of one range
//             share one GET; (3) bytes of two versions never mix; (4) no cache write when `may_write` says no: the
//             bytes are then served from memory.
// Source:     RFC 9110 §14 (ranges), §13.1.1 (If-Match).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "tier/vault/vault.h"

namespace mediafs::tier {

struct CachedObject {
  std::string key;
  std::string etag;
  std::uint64_t size_bytes = 0;
};

// What a read brought: pieces one after the other, some in the room that the reader gave, some in blocks of memory.
struct Pieces {
  std::vector<std::span<const std::byte>> bytes;
  std::vector<std::shared_ptr<const void>> blocks;  // kept while these live
  std::size_t size_bytes() const;
  void append(std::span<const std::byte> piece);
};

class Stream {
 public:
  // A read in two steps: what begin() asked for is on its way; finish() waits for it. The stream outlives it.
  class Read {
   public:
    virtual ~Read() = default;
    // Up to the size that it began with; fewer only at the object's end. What memory has is not copied; what has to be
    // read from the disk is put into `room`. REQUIRES: once, room.size() at least that size.
    virtual Result<Pieces> finish_in_pieces(std::span<std::byte> room, SteadyTime deadline,
                                            std::stop_token stop = {}) = 0;
    // The same, all of it copied to where it belongs.
    Result<std::size_t> finish(std::span<std::byte> into, SteadyTime deadline, std::stop_token stop = {});
  };
  virtual ~Stream() = default;  // cancels what only it waited for
  // Returns at once. Best called in the order in which the reads were asked for: what is read ahead goes by that.
  virtual std::unique_ptr<Read> begin(std::uint64_t offset, std::size_t size_bytes) = 0;
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into, SteadyTime deadline,
                           std::stop_token stop = {}) {
    return begin(offset, into.size())->finish(into, deadline, std::move(stop));
  }
};

struct StreamStats {
  std::uint64_t cached_bytes = 0, limit_bytes = 0;
  std::uint64_t requests = 0, fetched_bytes = 0, served_bytes = 0;
};

class Streams {
 public:
  struct Options {
    std::string directory = {};  // of the block cache
    std::uint64_t cache_bytes = 20ULL << 30;
    std::uint64_t memory_bytes = 256ULL << 20;  // of transfers, and blocks not yet written or read
    std::function<bool(std::uint64_t bytes)> may_write = {};  // unset: always
  };
  static Result<std::unique_ptr<Streams>> open(Options options, Vault& vault);
  virtual ~Streams() = default;
  virtual Result<std::unique_ptr<Stream>> open_stream(const CachedObject& object) = 0;
  virtual void forget(const std::string& key) = 0;  // drop its blocks, unless a stream is open
  // Frees at least `bytes` of the cache if it can; what it freed.
  virtual std::uint64_t shrink(std::uint64_t bytes) = 0;
  virtual StreamStats stats() const = 0;
};

}  // namespace mediafs::tier
