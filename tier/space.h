// Free space on the local branch: the reserve, the marks of eviction, and writers that wait for it (invariant 11).
// Threads:    safe from any thread. admit() never blocks; await() does.
// Units:      bytes.
// Errors:     no_space from await when the time is up: nothing could be evicted.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "common/config.h"
#include "common/result.h"
#include "common/sync.h"

namespace mediafs::tier {

struct SpaceFigures {
  std::uint64_t total_bytes = 0, free_bytes = 0, reserve_bytes = 0;
  std::uint64_t evict_below_bytes = 0, evict_until_bytes = 0;
};

class Space {
 public:
  // `pressure` is called when space is short (from any thread, at most every 50 ms): it starts an eviction.
  Space(const Config::Local& config, std::function<void()> pressure);
  // May `bytes` more be written without going under the reserve? Counts them as written if so. Asks statvfs only when
  // it must. False: use await() on a thread that may block.
  bool admit(std::uint64_t bytes);
  // Waits until `bytes` may be written, at most `limit`.
  Status await(std::uint64_t bytes, std::chrono::milliseconds limit);
  // For the block cache: like admit, but keeps clear of the eviction mark's lower half and starts no eviction.
  bool admit_cache(std::uint64_t bytes);
  void freed();  // something was removed: measure again, wake the waiting
  bool under_pressure();          // free < evict_below
  std::uint64_t wanted_bytes();   // how much must go to reach evict_until; 0 when not under pressure or writers wait less
  std::uint64_t waiting_bytes() const { return waiting_.load(std::memory_order_relaxed); }
  SpaceFigures figures();

 private:
  bool measure_and_admit(std::uint64_t bytes, std::uint64_t keep_free);
  std::string path_;
  Config::Local config_;
  std::function<void()> pressure_;
  Mutex mutex_;
  CondVar freed_cv_;
  std::atomic<std::int64_t> budget_{0};  // bytes that may be written before the next measurement
  std::atomic<std::uint64_t> waiting_{0};
  std::atomic<std::int64_t> last_pressure_ms_{0};
};

}  // namespace mediafs::tier
