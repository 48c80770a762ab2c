// What moves between the branches right now, for those who watch.
// Threads:    safe from any thread; a Scope belongs to its mover.
// Units:      bytes; nanoseconds since 1970.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/sync.h"

namespace mediafs::tier {

struct Transfer {    // one that is moving now, for `tier --status`
  std::string kind;  // upload | fetch
  std::string path;
  std::uint64_t done_bytes = 0, total_bytes = 0;
  WallNs started_ns = 0;
};

class Transfers {
  struct Entry {
    std::string kind, path;
    std::uint64_t total_bytes = 0;
    WallNs started_ns = 0;
    std::atomic<std::uint64_t> done_bytes{0};
  };

 public:
  class Scope {  // stands in the list while it lives
   public:
    Scope(Transfers& transfers, std::string kind, std::string path, std::uint64_t total_bytes, WallNs now_ns);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    std::uint64_t add(std::uint64_t bytes) { return entry_->done_bytes.fetch_add(bytes) + bytes; }

   private:
    Transfers& transfers_;
    std::shared_ptr<Entry> entry_;
  };

  std::vector<Transfer> list() const EXCLUDES(mutex_);
  bool moving(std::string_view kind, std::string_view path) const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<Entry>> entries_ GUARDED_BY(mutex_);
};

}  // namespace mediafs::tier
