// The loop's threads wait for the kernel's next message. libfuse before 3.18 does not wake them when the loop is told to
// end, and a mount that somebody has files open on may have no more messages. They are interrupted here: each by a
// signal, while it waits; one that has just ended its wait may get it late, and nobody else.
// Threads:    safe from any thread.
#pragma once

#include <pthread.h>

#include <atomic>

namespace mediafs::fs {

// One for each thread that reads messages; made by its first read.
class LoopWait {
 public:
  // Around a wait, which may end with EINTR or with the thread.
  class Scope {
   public:
    Scope() noexcept : wait_(mine()) { wait_.waiting_.store(true, std::memory_order_release); }
    ~Scope() { wait_.waiting_.store(false, std::memory_order_release); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    LoopWait& wait_;
  };
  LoopWait(const LoopWait&) = delete;
  LoopWait& operator=(const LoopWait&) = delete;
  ~LoopWait();

 private:
  friend void interrupt_loop_waits();
  LoopWait();
  static LoopWait& mine();
  const pthread_t thread_;
  std::atomic<bool> waiting_{false};
};

// Once is not enough: a thread may be about to wait.
void interrupt_loop_waits();

}  // namespace mediafs::fs
