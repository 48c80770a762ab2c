// The pauses of a thread that does something now and then, and can be told to end.
// Threads:    wait() from that thread, end() from any.
#pragma once

#include <chrono>

#include "common/sync.h"

namespace mediafs::app {

class Pause {
 public:
  // False: it is to end.
  bool wait(std::chrono::milliseconds time) EXCLUDES(mutex_) {
    const auto until = std::chrono::steady_clock::now() + time;
    MutexLock lock(mutex_);
    while (!ended_ && changed_.wait_until(mutex_, until)) {
    }
    return !ended_;
  }
  void end() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace mediafs::app
