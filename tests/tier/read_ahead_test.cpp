#include "tier/read_ahead.h"

#include <doctest/doctest.h>

namespace mediafs::tier {

constexpr std::uint64_t kKiB = 1ULL << 10;
constexpr std::uint64_t kFile = 1ULL << 30;

TEST_CASE("read-ahead: nothing at first, then at most twice what was read") {
  ReadAhead ahead;
  auto plan = ahead.note(0, 128 * kKiB, kFile);
  CHECK_FALSE(plan.seek);
  CHECK(plan.begin == plan.end);
  std::uint64_t furthest = 0;
  for (std::uint64_t at = 128 * kKiB; at < 4096 * kKiB; at += 128 * kKiB) {
    plan = ahead.note(at, 128 * kKiB, kFile);
    CHECK_FALSE(plan.seek);
    const auto read = at + 128 * kKiB;
    CHECK(plan.end <= read + 2 * read);
    CHECK(plan.begin >= furthest);  // nothing is asked for twice
    ahead.asked(plan.end);
    furthest = std::max(furthest, plan.end);
  }
  CHECK(furthest >= 8192 * kKiB);
}

TEST_CASE("read-ahead: the window grows beyond the patient one only for a reader that waits") {
  const auto window_after = [](bool waits) {
    ReadAhead ahead;
    std::uint64_t furthest = 0;
    std::uint64_t at = 0;
    for (; at < 256 * 1024 * kKiB; at += 128 * kKiB) {
      const auto plan = ahead.note(at, 128 * kKiB, kFile);
      ahead.asked(plan.end);
      furthest = std::max(furthest, plan.end);
      if (waits) ahead.waited(at);
    }
    return furthest - at;
  };
  CHECK(window_after(false) <= ReadAhead::kPatientWindow);
  CHECK(window_after(true) > ReadAhead::kLargestWindow / 2);
  CHECK(window_after(true) <= ReadAhead::kLargestWindow);
}

TEST_CASE(
    "read-ahead: a player that waits for its first 8 MiB is served no further than the patient window") {
  ReadAhead ahead;
  ahead.note(0, 64 * kKiB, kFile);
  const std::uint64_t begin = 100'000 * kKiB;
  std::uint64_t furthest = 0;
  for (std::uint64_t at = begin; at < begin + 8192 * kKiB; at += 512 * kKiB) {
    const auto plan = ahead.note(at, 512 * kKiB, kFile);
    ahead.asked(plan.end);
    furthest = std::max(furthest, plan.end);
    ahead.waited(at);
  }
  CHECK(furthest <= begin + 8192 * kKiB + ReadAhead::kPatientWindow);
}

TEST_CASE("read-ahead: a seek starts over; reads out of order are none") {
  ReadAhead ahead;
  ahead.note(0, 128 * kKiB, kFile);
  ahead.note(256 * kKiB, 128 * kKiB, kFile);
  CHECK_FALSE(ahead.note(128 * kKiB, 128 * kKiB, kFile).seek);
  CHECK_FALSE(ahead.note(384 * kKiB, 128 * kKiB, kFile).seek);
  const auto plan = ahead.note(500'000 * kKiB, 128 * kKiB, kFile);
  CHECK(plan.seek);
  CHECK(plan.begin == plan.end);
  CHECK(ahead.note(0, 128 * kKiB, kFile).seek);
}

TEST_CASE("read-ahead: one large read that arrives in two pieces, in either order, asks for nothing ahead") {
  const std::uint64_t at = 100'000 * kKiB;
  ReadAhead ahead;
  ahead.note(0, 64 * kKiB, kFile);
  CHECK(ahead.note(at, 1024 * kKiB, kFile).seek);
  auto plan = ahead.note(at + 1024 * kKiB, 4 * kKiB, kFile);
  CHECK_FALSE(plan.seek);
  CHECK(plan.begin == plan.end);
  CHECK(ahead.note(2 * at + 1024 * kKiB, 4 * kKiB, kFile).seek);
  plan = ahead.note(2 * at, 1024 * kKiB, kFile);
  CHECK_FALSE(plan.seek);
  CHECK(plan.begin == plan.end);
}

TEST_CASE("read-ahead: who goes on after a seek is served further ahead than at a file's beginning") {
  const auto window = [](bool seek) {
    ReadAhead ahead;
    const std::uint64_t at = seek ? 100'000 * kKiB : 0;
    if (seek) ahead.note(0, 64 * kKiB, kFile);
    ahead.note(at, 1024 * kKiB, kFile);
    const auto plan = ahead.note(at + 1024 * kKiB, 512 * kKiB, kFile);
    CHECK_FALSE(plan.seek);
    return plan.end - (at + 1536 * kKiB);
  };
  CHECK(window(false) == 2 * 1536 * kKiB);
  CHECK(window(true) == ReadAhead::kPatientWindow);
}

TEST_CASE("read-ahead: never beyond the end; what was lost is asked for again") {
  ReadAhead ahead;
  const std::uint64_t file = 1000 * kKiB;
  ahead.note(0, 512 * kKiB, file);
  auto plan = ahead.note(512 * kKiB, 200 * kKiB, file);
  CHECK(plan.end == file);
  ahead.asked(plan.end);
  plan = ahead.note(712 * kKiB, 10 * kKiB, file);
  CHECK(plan.begin == plan.end);
  ahead.lost(800 * kKiB);
  plan = ahead.note(722 * kKiB, 10 * kKiB, file);
  CHECK(plan.begin == 800 * kKiB);
  CHECK(plan.end == file);
}

}  // namespace mediafs::tier
