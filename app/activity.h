// Tells those who wait that something has happened in the queue.
// Threads:    safe from any thread; tell() never blocks, and may be called from the catalogue's writer.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>

#include "common/sync.h"

namespace mediafs::app {

class Activity {
 public:
  void tell() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    told_++;
    changed_.notify_all();
  }
  std::uint64_t told() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return told_;
  }
  // True once more was told than `seen`; false after `limit`, or when asked to stop.
  bool await(std::uint64_t seen, std::chrono::milliseconds limit, const std::stop_token& stop)
      EXCLUDES(mutex_) {
    const std::stop_callback wake(stop, [this] {
      MutexLock lock(mutex_);
      changed_.notify_all();
    });
    const auto until = std::chrono::steady_clock::now() + limit;
    MutexLock lock(mutex_);
    while (told_ == seen && !stop.stop_requested() && changed_.wait_until(mutex_, until)) {
    }
    return told_ != seen;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::uint64_t told_ GUARDED_BY(mutex_) = 0;
};

}  // namespace mediafs::app
