#include "fs/loop_waits.h"

#include <signal.h>

#include <algorithm>
#include <vector>

#include "common/sync.h"

namespace mediafs::fs {
namespace {

int interruption() {
  return SIGRTMIN + 5;
}
void on_interruption(int) {}

// Held while a thread is signalled: none ends meanwhile.
struct All {
  Mutex mutex;
  std::vector<LoopWait*> list GUARDED_BY(mutex);
};
All& waits() {
  static All all;
  return all;
}

}  // namespace

LoopWait::LoopWait() : thread_(pthread_self()) {
  MutexLock lock(waits().mutex);
  if (waits().list.empty()) {
    struct sigaction action {};
    action.sa_handler = on_interruption;  // without SA_RESTART: that is the point
    sigaction(interruption(), &action, nullptr);
  }
  waits().list.push_back(this);
}

LoopWait::~LoopWait() {
  MutexLock lock(waits().mutex);
  std::erase(waits().list, this);
}

LoopWait& LoopWait::mine() {
  static thread_local LoopWait wait;
  return wait;
}

void interrupt_loop_waits() {
  MutexLock lock(waits().mutex);
  for (const LoopWait* wait : waits().list) {
    if (wait->waiting_.load(std::memory_order_acquire)) pthread_kill(wait->thread_, interruption());
  }
}

}  // namespace mediafs::fs
