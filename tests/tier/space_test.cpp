#include "tier/space.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "stream_dirs.h"

namespace mediafs::tier {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kMiB = 1ULL << 20;

// A disk of 1000 MiB with a reserve of 100, evicting under 300 until 400.
struct Disk {
  std::atomic<std::uint64_t> free_bytes{500 * kMiB};
  std::atomic<std::uint64_t> in_flight{0};  // of writers that may have been admitted and have not written yet
  std::atomic<int> measured{0};
  std::atomic<int> pressed{0};
  Space::Measure measure() {
    return [this] {
      ++measured;
      const std::uint64_t unseen = in_flight;  // first: what is written meanwhile may count twice, not never
      const std::uint64_t free = free_bytes;
      return SpaceFigures{1000 * kMiB, free > unseen ? free - unseen : 0, 100 * kMiB, 300 * kMiB, 400 * kMiB};
    };
  }
  std::function<void()> pressure() {
    return [this] { ++pressed; };
  }
};

}  // namespace

TEST_CASE("space: writers that are not seen need room far above the reserve") {
  constexpr std::uint64_t kGiB = 1ULL << 30;
  std::uint64_t free_bytes = 0;
  int pressed = 0;
  Space space(
      [&] {
        return SpaceFigures{128 * kGiB, free_bytes, 8 * kGiB, 20 * kGiB, 30 * kGiB};
      },
      [&] { ++pressed; });
  free_bytes = 12 * kGiB;  // 2 GiB each
  CHECK(space.ample(2));
  CHECK_FALSE(space.ample(3));
  free_bytes = 7 * kGiB;
  CHECK_FALSE(space.ample(1));
  free_bytes = 20 * kGiB;
  space.look();
  CHECK(pressed == 0);
  free_bytes = 19 * kGiB;
  space.look();
  CHECK(pressed == 1);
}

TEST_CASE("space: admits down to the reserve and not below, from many threads") {
  Disk disk;
  Space space(disk.measure(), disk.pressure());
  std::vector<std::thread> writers;
  std::atomic<std::uint64_t> lowest = ~0ULL;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      // The measurement sees the writes under way: a writer may be preempted for longer than Space counts one
      // that no measurement shows.
      for (bool more = true; more; disk.in_flight -= 64 << 10) {
        disk.in_flight += 64 << 10;
        more = space.admit(64 << 10);
        if (!more) continue;
        const auto left = disk.free_bytes.fetch_sub(64 << 10) - (64 << 10);
        auto low = lowest.load();
        while (left < low && !lowest.compare_exchange_weak(low, left)) {
        }
      }
    });
  }
  for (auto& writer : writers) writer.join();
  CHECK(lowest >= 100 * kMiB);
  CHECK(disk.pressed > 0);
}

TEST_CASE("space: what was just admitted counts before the disk shows it") {
  int refused = 0;
  for (int i = 0; i < 50; ++i) {  // not each time: the thread may be preempted for long between the two
    Disk disk;
    Space space(disk.measure(), disk.pressure());
    CHECK(space.admit(200 * kMiB));
    refused += space.admit(250 * kMiB) ? 0 : 1;
  }
  CHECK(refused > 0);
}

TEST_CASE("space: a measurement serves many writes") {
  Disk disk;
  disk.free_bytes = 100'000 * kMiB;
  Space space(disk.measure(), disk.pressure());
  for (int i = 0; i < 1000; ++i) CHECK(space.admit(16 << 10));
  CHECK(disk.measured <= 2);
  CHECK(disk.pressed == 0);
}

TEST_CASE("space: one large write is held against all there is") {
  Disk disk;
  Space space(disk.measure(), disk.pressure());
  CHECK(space.admit(390 * kMiB));
  disk.free_bytes -= 390 * kMiB;
  CHECK_FALSE(space.admit(11 * kMiB));
}

TEST_CASE("space: less than the reserve, or a reserve larger than the disk, admits nothing") {
  Disk disk;
  disk.free_bytes = 10 * kMiB;
  Space space(disk.measure(), disk.pressure());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) CHECK_FALSE(space.admit(1));
  CHECK(disk.pressed >= 1);
  CHECK(disk.pressed <= 1 + (std::chrono::steady_clock::now() - begin) / milliseconds(50));
  CHECK(space.admit(0));
  CHECK(space.under_pressure());
  CHECK(space.wanted_bytes() == 390 * kMiB);
}

TEST_CASE("space: await ends when enough was freed") {
  Disk disk;
  disk.free_bytes = 100 * kMiB;
  Space space(disk.measure(), disk.pressure());
  Status status = make_error(ErrorCode::internal, "not run");
  std::thread writer([&] { status = space.await(5 * kMiB, milliseconds(60'000)); });
  while (space.waiting_bytes() == 0) std::this_thread::yield();
  CHECK(space.wanted_bytes() >= 300 * kMiB + 5 * kMiB);
  disk.free_bytes = 110 * kMiB;
  space.freed();
  writer.join();
  CHECK(status);
  CHECK(space.waiting_bytes() == 0);
}

TEST_CASE("space: await sees what others freed, and keeps pressing") {
  Disk disk;
  disk.free_bytes = 100 * kMiB;
  std::atomic<int> presses = 0;
  Space space(disk.measure(), [&] {
    if (++presses == 3) disk.free_bytes = 200 * kMiB;
  });
  CHECK(space.await(5 * kMiB, milliseconds(60'000)));
  CHECK(presses >= 3);
}

TEST_CASE("space: await gives up with no_space") {
  Disk disk;
  disk.free_bytes = 100 * kMiB;
  Space space(disk.measure(), disk.pressure());
  const auto status = space.await(1, milliseconds(1));
  REQUIRE_FALSE(status);
  CHECK(status.err().code == ErrorCode::no_space);
  CHECK(space.waiting_bytes() == 0);
}

TEST_CASE("space: the block cache keeps clear of the lower half of the eviction mark") {
  Disk disk;
  Space space(disk.measure(), disk.pressure());
  CHECK(space.admit_cache(64 << 10));
  disk.free_bytes = 149 * kMiB;
  space.freed();
  CHECK_FALSE(space.admit_cache(64 << 10));
  CHECK(space.admit(64 << 10));
  disk.pressed = 0;
  CHECK_FALSE(space.admit_cache(64 << 10));
  CHECK(disk.pressed == 0);
}

TEST_CASE("space: what is wanted without pressure is what writers wait for") {
  Disk disk;
  Space space(disk.measure(), disk.pressure());
  CHECK(space.wanted_bytes() == 0);
  CHECK_FALSE(space.under_pressure());
}

TEST_CASE("space: the figures of a real filesystem") {
  test::TempDir dir;
  Config::Local config;
  config.path = dir.path();
  config.reserve_bytes = 1;
  Space space(config, {});
  const auto figures = space.figures();
  CHECK(figures.total_bytes > 0);
  CHECK(figures.free_bytes <= figures.total_bytes);
  CHECK(figures.evict_below_bytes <= figures.evict_until_bytes);
  CHECK(space.admit(1));
  config.reserve_bytes = figures.total_bytes + 1;
  Space full(config, {});
  CHECK_FALSE(full.admit(1));
}

}  // namespace mediafs::tier
