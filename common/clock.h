// Time: one seam, so that tests can turn the hands.
// Threads:    safe from any thread.
// Units:      wall time as nanoseconds since 1970 (WallNs); waits and deadlines on the steady clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>

namespace mediafs {

using SteadyTime = std::chrono::steady_clock::time_point;
using WallNs = std::int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallNs wall_ns() const = 0;
  virtual SteadyTime steady() const = 0;
  static Clock& system();
};

class ManualClock final : public Clock {  // for tests
 public:
  WallNs wall_ns() const override { return wall_; }
  SteadyTime steady() const override { return steady_; }
  void advance(std::chrono::nanoseconds by) {
    wall_ += by.count();
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(by);
  }

 private:
  WallNs wall_ = 1'700'000'000'000'000'000;
  SteadyTime steady_{};
};

timespec timespec_of(WallNs wall_ns);  // before 1970 too: tv_nsec is never negative
std::string rfc3339(WallNs wall_ns);   // "2026-11-20T11:45:00.123Z", UTC

}  // namespace mediafs
