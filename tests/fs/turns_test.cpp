#include "fs/turns.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "fs/loop_waits.h"

using namespace mediafs;
using namespace mediafs::fs;

namespace {

// Messages arrive whole, as the kernel's requests do.
struct Device {
  Fd kernel, ours;
  Device() {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
    kernel = Fd(ends[0]);
    ours = Fd(ends[1]);
  }
  void request(std::uint32_t number) const {
    REQUIRE(write(kernel.get(), &number, sizeof number) == sizeof number);
  }
};

bool never_brief(const void*, std::size_t) {
  return false;
}

std::uint32_t read_one(Turns& turns, const Device& device) {
  std::uint32_t number = 0;
  return turns.read(device.ours.get(), &number, sizeof number) == sizeof number ? number : 0;
}

}  // namespace

TEST_CASE("one thread reads and serves what comes") {
  const Device device;
  Turns turns{[] { return false; }, never_brief};
  for (std::uint32_t n = 1; n <= 100; ++n) {
    device.request(n);
    CHECK(read_one(turns, device) == n);
  }
}

TEST_CASE("who takes long with a request loses the turn") {
  const Device device;
  Turns turns{[] { return false; }, never_brief};
  device.request(1);
  CHECK(read_one(turns, device) == 1);  // and this thread is serving it until the others are done
  for (std::uint32_t n = 2; n < 6; ++n) {
    device.request(n);
    std::uint32_t got = 0;
    std::thread([&] { got = read_one(turns, device); }).join();  // which ends as if it served for ever
    CHECK(got == n);
  }
  device.request(6);
  CHECK(read_one(turns, device) == 6);
}

TEST_CASE("each request is read once, whoever reads") {
  constexpr std::uint32_t kRequests = 20'000;
  const Device device;
  Turns turns{[] { return false; }, never_brief};
  std::atomic<std::uint32_t> count{0};
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (const std::uint32_t n = read_one(turns, device)) {
        if (n > kRequests) return;
        ++count;
        sum += n;
      }
    });
  }
  for (std::uint32_t n = 1; n <= kRequests + 4; ++n) device.request(n);
  for (std::thread& reader : readers) reader.join();
  CHECK(count == kRequests);
  CHECK(sum == std::uint64_t{kRequests} * (kRequests + 1) / 2);
}

TEST_CASE("who waits can be interrupted, with the turn and without") {
  const Device device;
  Turns turns{[] { return false; }, never_brief};
  std::atomic<int> interrupted{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      std::uint32_t number = 0;
      const ssize_t got = turns.read(device.ours.get(), &number, sizeof number);
      if (got < 0 && errno == EINTR) ++interrupted;
    });
  }
  while (interrupted < 3) {
    interrupt_loop_waits();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // its signals queue up
  }
  for (std::thread& reader : readers) reader.join();
}

TEST_CASE("nobody waits once it is to end") {
  const Device device;
  std::atomic<bool> ended{false};
  Turns turns{[&] { return ended.load(); }, never_brief};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!ended) CHECK(read_one(turns, device) == 0);
    });
  }
  ended = true;
  for (std::thread& reader : readers) reader.join();
}
