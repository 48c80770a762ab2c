// Free space on the local branch: the reserve, the marks of eviction, and writers that wait for it
// (invariant 11).
// Threads:    safe from any thread. admit() never blocks; await() does.
// Units:      bytes.
// Errors:     no_space from await when the time is up: nothing could be evicted.
// Invariants: (1) what is admitted leaves the reserve free, as far as the latest measurement can tell; a
//             measurement serves for at most 100 ms once space is low.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "common/clock.h"
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
  using Measure = std::function<SpaceFigures()>;
  // `pressure` is called when space is short (from any thread, at most every 50 ms): it starts an eviction.
  Space(const Config::Local& config, std::function<void()> pressure);
  Space(Measure measure, std::function<void()> pressure);
  // May `bytes` more be written without going under the reserve? Counts them as written if so. Asks statvfs
  // only when it must. False: use await() on a thread that may block.
  bool admit(std::uint64_t bytes);
  // Waits until `bytes` may be written, at most `limit`.
  Status await(std::uint64_t bytes, std::chrono::milliseconds limit);
  // For the block cache: like admit, but keeps clear of the eviction mark's lower half and starts no
  // eviction.
  bool admit_cache(std::uint64_t bytes);
  void freed();           // something was removed: measure again, wake the waiting
  bool under_pressure();  // free < evict_below
  // How much must go: to reach evict_until when under pressure, and for those who wait. 0: nothing.
  std::uint64_t wanted_bytes();
  std::uint64_t waiting_bytes() const { return waiting_.load(std::memory_order_relaxed); }
  // For writers whose writes we don't see (FUSE passthrough): whether the reserve is far enough off for that many.
  bool ample(std::uint64_t writers);
  // While there are such: measures, and starts an eviction when it is time.
  void look();
  SpaceFigures figures();  // measured now

 private:
  bool take(std::uint64_t bytes);
  bool measure_and_admit(std::uint64_t bytes) EXCLUDES(mutex_);
  SpaceFigures measure(std::uint64_t bytes, bool* admitted) REQUIRES(mutex_);
  void press();

  const Measure measure_;
  const std::function<void()> pressure_;
  Mutex mutex_;
  CondVar freed_cv_;
  std::uint64_t frees_ GUARDED_BY(mutex_) = 0;
  std::int64_t granted_ GUARDED_BY(mutex_) = 0;  // budget_ as it was after the latest measurement
  SteadyTime measured_ GUARDED_BY(mutex_){};
  std::uint64_t cache_budget_ GUARDED_BY(mutex_) = 0;
  SteadyTime cache_measured_ GUARDED_BY(mutex_){};
  std::atomic<std::int64_t> budget_{0};      // bytes that may be written before the next measurement
  std::atomic<std::int64_t> expires_ns_{0};  // of the budget, steady; only looked at when space is low
  std::atomic<std::uint64_t> waiting_{0};
  std::atomic<std::int64_t> last_pressure_ns_;
};

}  // namespace mediafs::tier
