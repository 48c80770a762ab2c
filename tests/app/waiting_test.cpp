#include "app/waiting.h"

#include <doctest/doctest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

using namespace mediafs;
using namespace mediafs::app;

namespace {

// A look comes only with an event: the next one by itself would be in an hour.
constexpr WaitTimes kEventsOnly{.quiet = std::chrono::milliseconds(1),
                                .gather = std::chrono::milliseconds(1),
                                .look_again = std::chrono::hours(1)};

}  // namespace

TEST_CASE("waiting ends with the event that leaves nothing to do") {
  Activity activity;
  std::atomic<int> left{3};
  std::atomic<int> looks{0};
  int shown = 0;
  std::jthread queue([&] {
    for (int i = 0; i < 3; i++) {
      while (looks <= i) std::this_thread::yield();
      left--;
      activity.tell();
    }
  });
  const Status done = wait_until_done(
      activity,
      [&](Json& now) -> Result<bool> {
        const int still = left;
        now = {{"left", still}};
        looks++;
        return still == 0;
      },
      [&](const Json&) { shown++; }, {}, kEventsOnly);
  CHECK(done);
  CHECK(shown >= 2);
}

TEST_CASE("a stop ends the waiting only") {
  Activity activity;
  std::stop_source source;
  std::atomic<bool> looked{false};
  std::jthread client([&] {
    while (!looked) std::this_thread::yield();
    source.request_stop();
  });
  const Status stopped = wait_until_done(
      activity,
      [&](Json&) -> Result<bool> {
        looked = true;
        return false;
      },
      [](const Json&) {}, source.get_token(), kEventsOnly);
  CHECK(stopped.err().code == ErrorCode::cancelled);
}

TEST_CASE("what fails to look fails the waiting") {
  Activity activity;
  const auto look = [](Json&) -> Result<bool> { return make_error(ErrorCode::corrupt, "x"); };
  CHECK(wait_until_done(
            activity, look, [](const Json&) {}, {}, kEventsOnly)
            .err()
            .code == ErrorCode::corrupt);
}
