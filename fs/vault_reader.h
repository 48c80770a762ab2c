// An open handle's view of a file in the vault: a stream, kept on the same content when the object moves or the file
// is fetched meanwhile. What the mount then changes of the local copy is seen: all opens share the kernel's pages.
// Threads:    safe from any thread; read() blocks up to the deadline.
// Borrows:    Core (outlives it).
// Errors:     the stream's; changed: the file has other content now than when it was opened.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>

#include "common/fd.h"
#include "common/sync.h"
#include "fs/core.h"

namespace mediafs::fs {

class VaultReader {
 public:
  // REQUIRES: row.vault, core.streams.
  static Result<std::shared_ptr<VaultReader>> open(Core& core, const Found& found);
  // What a read asks for is on its way; read() then waits for it. Never blocks.
  struct Begun {
    std::shared_ptr<tier::Stream> stream;
    std::unique_ptr<tier::Stream::Read> read;  // before the stream goes
  };
  Begun begin(std::uint64_t offset, std::size_t size_bytes);
  // Pieces of what memory has, and of `room`, which is as large as the read.
  Result<tier::Pieces> read(Begun begun, std::uint64_t offset, std::span<std::byte> room,
                            const std::stop_token& stop);
  Result<struct stat> stat();
  void go_on_with(std::shared_ptr<Fd> local);  // the copy that is about to be changed

 private:
  VaultReader(Core& core, const Found& found);
  // Where the same content stands now. False: nowhere else than before.
  Result<bool> reopen(const std::shared_ptr<tier::Stream>& failed);

  Core& core_;
  const std::int64_t id_;
  const std::int64_t generation_;
  const std::uint64_t size_bytes_;
  const struct stat st_;
  Mutex mutex_;
  tier::CachedObject object_ GUARDED_BY(mutex_);
  std::shared_ptr<tier::Stream> stream_ GUARDED_BY(mutex_);
  std::shared_ptr<Fd> local_ GUARDED_BY(mutex_);
};

// Who reads the node from the vault goes on with `fd`, its local file, which is about to be changed.
void let_readers_follow(Core& core, NodeId node, int fd);

}  // namespace mediafs::fs
