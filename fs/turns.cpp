#include "fs/turns.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/clock.h"
#include "fs/loop_waits.h"

namespace mediafs::fs {
namespace {

constexpr std::chrono::microseconds kLookFor{60};
constexpr std::chrono::microseconds kLookEvery{1};
constexpr std::chrono::milliseconds kOverseeEvery{1};
constexpr int kSleepFor_ms = 1000;  // nobody tells of an end for another reason than stop()
constexpr int kMostLooks = 8;

bool none_there(ssize_t got) {
  return got < 0 && errno == EAGAIN;
}

// The owner's number, and whether it has a request in hand.
constexpr std::uint64_t reading(std::uint64_t number) {
  return number << 1U;
}
constexpr std::uint64_t serving(std::uint64_t number) {
  return reading(number) | 1U;
}
constexpr bool is_serving(std::uint64_t state) {
  return (state & 1U) != 0;
}

ssize_t interrupted() {
  errno = EINTR;
  return -1;
}

bool is_ready(int device, int limit_ms) {
  struct pollfd p = {.fd = device, .events = POLLIN, .revents = 0};
  return ::poll(&p, 1, limit_ms) == 1;
}

// The lock of the device is the kernel's, too, who needs it to bring the request.
void wait_a_little() {
  const SteadyTime until = std::chrono::steady_clock::now() + kLookEvery;
  while (std::chrono::steady_clock::now() < until) {
  }
}

// libfuse cancels its threads once one of them has ended. The others get the turn from one another instead and end by
// themselves: what is cancelled leaves locks and counts behind.
class Uncancelled {
 public:
  Uncancelled() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~Uncancelled() { pthread_setcancelstate(before_, nullptr); }
  Uncancelled(const Uncancelled&) = delete;
  Uncancelled& operator=(const Uncancelled&) = delete;

 private:
  int before_ = 0;
};

}  // namespace

struct Turns::Mine {
  const Turns* of = nullptr;
  std::uint64_t number = 0;
  int device = -1;  // is O_NONBLOCK
};

// Who comes back without a request may be about to end.
class Turns::Leaving {
 public:
  Leaving(Turns& turns, std::uint64_t state) : turns_(turns), state_(state) {}
  ~Leaving() {
    const int saved = errno;
    if (state_ != 0) turns_.take_from(state_);
    errno = saved;
  }
  void stays() noexcept { state_ = 0; }
  Leaving(const Leaving&) = delete;
  Leaving& operator=(const Leaving&) = delete;

 private:
  Turns& turns_;
  std::uint64_t state_;
};

// Nobody waits for a turn where there is no eventfd: all read at once.
Turns::Turns(std::function<bool()> ended, Brief brief)
    : ended_(std::move(ended)),
      brief_(brief),
      free_(::eventfd(1, EFD_CLOEXEC | EFD_SEMAPHORE)),
      eager_(std::thread::hardware_concurrency() > 1),
      overseer_([this](const std::stop_token& stop) { oversee(stop); }) {}

Turns::~Turns() {
  overseer_.request_stop();
  MutexLock lock(mutex_);
  begun_.notify_all();
}

// Whoever has served what it read has its turn still, if nobody has taken it.
bool Turns::has_turn(const Mine& mine) noexcept {
  if (mine.of != this) return false;
  std::uint64_t state = serving(mine.number);
  return owner_.compare_exchange_strong(state, reading(mine.number)) || state == reading(mine.number);
}

bool Turns::wait_for_turn(Mine& mine) {
  if (free_) {
    const LoopWait::Scope waiting;
    std::uint64_t count = 0;
    if (::read(free_.get(), &count, sizeof count) != sizeof count) return false;
  }
  mine.of = this;
  mine.number = last_.fetch_add(1, std::memory_order_relaxed) + 1;
  owner_.store(reading(mine.number));
  return true;
}

ssize_t Turns::read_in_turn(int device, void* buffer, std::size_t size) {
  ssize_t got = ::read(device, buffer, size);
  if (!none_there(got)) return got;
  const bool look = eager_ && looks_.load(std::memory_order_relaxed) > 0;
  const SteadyTime began = std::chrono::steady_clock::now();
  while (look && std::chrono::steady_clock::now() < began + kLookFor) {
    wait_a_little();
    got = ::read(device, buffer, size);
    if (none_there(got)) continue;
    looks_.store(kMostLooks, std::memory_order_relaxed);
    return got;
  }
  {
    const LoopWait::Scope waiting;
    if (ended_()) return interrupted();
    if (!is_ready(device, kSleepFor_ms)) return interrupted();
  }
  const bool soon = std::chrono::steady_clock::now() < began + 2 * kLookFor;
  if (soon) looks_.store(kMostLooks, std::memory_order_relaxed);
  if (look && !soon) looks_.fetch_sub(1, std::memory_order_relaxed);
  return ::read(device, buffer, size);
}

ssize_t Turns::read(int device, void* buffer, std::size_t size) {
  static thread_local Mine mine;
  const Uncancelled until_it_returns;
  if (mine.device != device) {
    const int flags = ::fcntl(device, F_GETFL);
    if (flags < 0 || ::fcntl(device, F_SETFL, flags | O_NONBLOCK) != 0) return -1;
    mine.device = device;
  }
  for (;;) {
    if (!has_turn(mine) && !wait_for_turn(mine)) return -1;
    Leaving leaving(*this, reading(mine.number));
    const ssize_t got = read_in_turn(device, buffer, size);
    if (got <= 0 && !none_there(got)) return got;
    leaving.stays();
    if (got < 0) continue;  // it was taken back
    hand_on(mine, device, brief_(buffer, static_cast<std::size_t>(got)));
    return got;
  }
}

void Turns::hand_on(const Mine& mine, int device, bool brief) {
  std::uint64_t state = reading(mine.number);
  if (!owner_.compare_exchange_strong(state, serving(mine.number))) return;
  read_.fetch_add(1);
  if (!brief && is_ready(device, 0)) return take_from(serving(mine.number));
  if (overseen_.load() || overseen_.exchange(true)) return;
  MutexLock lock(mutex_);
  begun_.notify_one();
}

void Turns::take_from(std::uint64_t state) {
  if (!free_ || !owner_.compare_exchange_strong(state, 0)) return;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(free_.get(), &one, sizeof one));  // the counter is far from full
}

void Turns::oversee(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "fs-turns");
  std::uint64_t seen = 0;
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    const std::uint64_t state = owner_.load();
    const std::uint64_t now = read_.load();
    if (now == seen) {
      if (is_serving(state)) take_from(state);
      // Nothing goes on, or nobody is left to be overseen.
      overseen_.store(false);
      if (read_.load() != seen) overseen_.store(true);  // whose reader believed that it still was
      while (!overseen_.load() && !stop.stop_requested()) begun_.wait(mutex_);
    }
    seen = now;
    begun_.wait_for(mutex_, kOverseeEvery);
  }
}

}  // namespace mediafs::fs
