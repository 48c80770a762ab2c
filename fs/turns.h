// Whose turn it is to read the kernel's next request. One of the loop's threads looks for it, for a moment without
// sleeping: a program that makes one call after the other is answered by one thread that nobody has to wake. It keeps
// its turn while it serves what it has read, unless more is waiting, or it takes long: then the next thread reads.
// Threads:    read() from the loop's threads; an overseer of its own takes the turn from who is slow, and sleeps while
//             there are no requests.
// Shapes:     the turn is a number, the owner's, or one count of an eventfd that waits for the next owner.
// Invariants: (1) a request waits for no other one for longer than a few ms while there are threads left.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <thread>

#include "common/fd.h"
#include "common/sync.h"

namespace mediafs::fs {

class Turns {
 public:
  // Whether that request is served in no time: the turn is kept for it, whatever waits.
  using Brief = bool (*)(const void* request, std::size_t size);
  // `ended`: whether the loop is to end.
  Turns(std::function<bool()> ended, Brief brief);
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // As read(2) of a FUSE device, which is set to O_NONBLOCK: waits for its turn and for a request. EINTR: see LoopWait,
  // or the loop is to end, or nothing came for a while.
  ssize_t read(int device, void* buffer, std::size_t size);

 private:
  struct Mine;  // what a thread knows
  class Leaving;
  bool has_turn(const Mine& mine) noexcept;
  bool wait_for_turn(Mine& mine);
  ssize_t read_in_turn(int device, void* buffer, std::size_t size);
  void hand_on(const Mine& mine, int device, bool brief);
  void take_from(std::uint64_t state);
  void oversee(const std::stop_token& stop) EXCLUDES(mutex_);

  const std::function<bool()> ended_;
  const Brief brief_;
  const Fd free_;
  const bool eager_;  // there is a processor to look with
  std::atomic<std::uint64_t> owner_{
      0};  // twice its number, and one more while it has a request in hand; 0: nobody
  std::atomic<std::uint64_t> last_{0};  // number given
  std::atomic<std::uint64_t> read_{0};  // requests
  std::atomic<bool> overseen_{false};   // the overseer looks each millisecond
  std::atomic<int> looks_{0};           // how many more times it is worth a look
  Mutex mutex_;
  CondVar begun_;
  std::jthread overseer_;  // last: it uses what stands above
};

}  // namespace mediafs::fs
