// A bounded pool of threads for work that must not run where it was asked for.
// Threads:    submit() from any thread; tasks run on the pool's threads.
// Errors:     submit() answers busy when `queue_limit` tasks wait already; nothing is ever dropped silently.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "common/result.h"
#include "common/sync.h"

namespace mediafs {

class Pool {
 public:
  struct Options {
    std::string name;  // shown as the threads' name, 15 bytes
    std::size_t threads = 4;
    std::size_t queue_limit = 1024;
  };
  using Task = std::function<void()>;
  explicit Pool(Options options);
  ~Pool();  // stops taking, runs what waits, joins
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Status submit(Task task) EXCLUDES(mutex_);
  std::size_t waiting() const EXCLUDES(mutex_);

 private:
  void run();
  Options options_;
  mutable Mutex mutex_;
  CondVar wake_;
  std::deque<Task> tasks_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace mediafs
