#include "common/clock.h"

#include <cstdio>
#include <ctime>

namespace mediafs {

namespace {

class SystemClock final : public Clock {
 public:
  WallNs wall_ns() const override {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return WallNs{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
  SteadyTime steady() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

Clock& Clock::system() {
  static SystemClock clock;
  return clock;
}

timespec timespec_of(WallNs wall_ns) {
  constexpr WallNs kSecond = 1'000'000'000;
  timespec at{.tv_sec = wall_ns / kSecond, .tv_nsec = wall_ns % kSecond};
  if (at.tv_nsec < 0) {
    at.tv_nsec += kSecond;
    --at.tv_sec;
  }
  return at;
}

std::string rfc3339(WallNs wall_ns) {
  const timespec at = timespec_of(wall_ns);
  std::tm parts{};
  ::gmtime_r(&at.tv_sec, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(at.tv_nsec / 1'000'000));
  return text;
}

}  // namespace mediafs
