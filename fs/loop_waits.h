// The loop's threads wait for the kernel's next message. libfuse before 3.17 does not wake them when the loop is told to
// end, and a mount that somebody has files open on may have no more messages. They are interrupted here: each by a
// signal, and none that does not wait, for a signal could come anywhere in what it does.
// Threads:    safe from any thread.
#pragma once

#include <pthread.h>

#include <atomic>

namespace mediafs::fs {

// One for each thread that reads messages; made by its first read.
class LoopWait {
 public:
  static LoopWait& mine();
  // Around the read, which may end with EINTR.
  void begin() noexcept { waiting_.store(true, std::memory_order_release); }
  void end() noexcept { waiting_.store(false, std::memory_order_release); }
  LoopWait(const LoopWait&) = delete;
  LoopWait& operator=(const LoopWait&) = delete;
  ~LoopWait();

 private:
  friend void interrupt_loop_waits();
  LoopWait();
  const pthread_t thread_;
  std::atomic<bool> waiting_{false};
};

// Once is not enough: a thread may be about to wait.
void interrupt_loop_waits();

}  // namespace mediafs::fs
