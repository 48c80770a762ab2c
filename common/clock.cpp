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

std::string rfc3339(WallNs wall_ns) {
  constexpr WallNs kSecond = 1'000'000'000;
  WallNs rest = wall_ns % kSecond;
  if (rest < 0) rest += kSecond;
  const std::time_t seconds = (wall_ns - rest) / kSecond;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(rest / 1'000'000));
  return text;
}

}  // namespace mediafs
