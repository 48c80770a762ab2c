// The limits of what is sent and received, and that of further tries: each one bucket of tokens shared by all of a
// driver's calls.
// Threads:    safe from any thread; acquire() blocks.
// Units:      bytes, bytes a second.
// Errors:     cancelled.
// Invariants: (1) over any long time no more than `bytes_per_second` are admitted, but for small ones of take(). One
//             caller's bytes are admitted at once and paid for by the next: a request that is sent at the limit's speed
//             ends when its debt does. (2) set() forgets the debts: who waits goes on at the new rate.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>

#include "common/result.h"
#include "common/sync.h"

namespace mediafs::tier {

class RateLimit {
 public:
  explicit RateLimit(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}
  std::uint64_t bytes_per_second() const EXCLUDES(mutex_);  // 0: no limit
  void set(std::uint64_t bytes_per_second) EXCLUDES(mutex_);
  Status acquire(std::uint64_t size_bytes, const std::stop_token& stop) EXCLUDES(mutex_);
  // For those who may not block: zero, and the bytes are charged; or when to ask again, which is soon. What is small is
  // never made to wait: a vault is asked how it is, and a player looks at a file's head, whatever else is under way.
  std::chrono::milliseconds take(std::uint64_t size_bytes) EXCLUDES(mutex_);

 private:
  using Time = std::chrono::steady_clock::time_point;
  Time charge(std::uint64_t size_bytes) REQUIRES(mutex_);  // when its turn is
  mutable Mutex mutex_;
  CondVar changed_;
  std::uint64_t rate_ GUARDED_BY(mutex_);
  std::uint64_t set_ GUARDED_BY(mutex_) = 0;  // how often
  Time paid_until_ GUARDED_BY(mutex_) = {};
};

// Of one vault, over all its connections.
struct Limits {
  RateLimit upload{0};
  RateLimit download{0};
};

// How many further tries there may be: a share of what went well, and a few beside, so that a server in trouble is never
// asked for much more than it was.
class RetryBudget {
 public:
  bool take() EXCLUDES(mutex_);  // false: no further try now
  void went_well() EXCLUDES(mutex_);

 private:
  void refill() REQUIRES(mutex_);
  Mutex mutex_;
  double tokens_ GUARDED_BY(mutex_) = kMost;
  std::chrono::steady_clock::time_point filled_ GUARDED_BY(mutex_) = std::chrono::steady_clock::now();
  static constexpr double kMost = 50;
};

// How long to wait before try number `attempt` (from 1) after this one: random, doubling, and what the server asked for;
// nullopt: longer than a quick try may take.
std::optional<std::chrono::milliseconds> quick_pause(int attempt, const Error& last);
// Sleeps until then; false if asked to stop before.
bool wait_unless_stopped(const std::stop_token& stop, std::chrono::steady_clock::time_point until);

}  // namespace mediafs::tier
