#include "fs/share_branch.h"

#include <doctest/doctest.h>

#include <fcntl.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/common/temp_dir.h"

using namespace mediafs;
using fs::ShareBranch;

namespace {

struct Gate {  // holds a call as a dead server does
  std::mutex mutex;
  std::condition_variable cv;
  bool open = false;
  void pass() {
    std::unique_lock lock(mutex);
    cv.wait(lock, [this] { return open; });
  }
  void release() {
    const std::lock_guard lock(mutex);
    open = true;
    cv.notify_all();
  }
};

bool becomes(const ShareBranch& share, bool usable) {
  for (int i = 0; i < 1000 && share.usable() != usable; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return share.usable() == usable;
}

}  // namespace

TEST_CASE("a share without its marker is absent until the marker is there") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = ".here"});
  CHECK_FALSE(share.wait_until_probed());
  CHECK(share.call<int>([](int) -> Result<int> { return 1; }).error().code == ErrorCode::offline);
  test::put(dir / ".here", "");
  CHECK(becomes(share, true));
  CHECK(*share.call<int>([](int) -> Result<int> { return 1; }) == 1);
  std::filesystem::remove(dir / ".here");
  CHECK(share.call<int>([](int) -> Result<int> { return 1; }).error().code == ErrorCode::offline);
  CHECK_FALSE(share.usable());
}

TEST_CASE("a call that hangs ends at the timeout, the share is absent and heals") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::milliseconds(100)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  auto hung = share.call<int>([gate](int) -> Result<int> {
    gate->pass();
    return 1;
  });
  CHECK(hung.error().code == ErrorCode::timeout);
  CHECK(becomes(share, true));
  CHECK(*share.call<int>([](int) -> Result<int> { return 2; }) == 2);
  gate->release();
}

TEST_CASE("what was given up before it began never begins") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::milliseconds(200)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  auto begun = std::make_shared<std::atomic<int>>(0);
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {  // as many as there are threads
    callers.emplace_back([&share, gate] {
      auto hung = share.call<int>([gate](int) -> Result<int> {
        gate->pass();
        return 1;
      });
      CHECK_FALSE(hung);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  auto late = share.call<int>([begun](int) -> Result<int> { return ++*begun; });
  for (std::thread& caller : callers) caller.join();
  gate->release();
  if (!late) {
    CHECK(becomes(share, true));
    CHECK(share.call<int>([](int) -> Result<int> { return 1; }));
    CHECK(begun->load() == 0);
  }
}

TEST_CASE("threads that hang for ever are not missed") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::milliseconds(100)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {  // as many as there are
    callers.emplace_back([&share, gate] {
      auto hung = share.call<int>([gate](int) -> Result<int> { return gate->pass(), 1; });
      CHECK_FALSE(hung);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(becomes(share, true));
  CHECK(*share.call<int>([](int) -> Result<int> { return 2; }) == 2);
  gate->release();
  CHECK(*share.call<int>([](int) -> Result<int> { return 3; }) == 3);
}

TEST_CASE("a file whose open was given up is closed") {
  const test::TempDir dir;
  test::put(dir / "f", "x");
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::milliseconds(100)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  auto opened = std::make_shared<std::atomic<int>>(-1);
  using File = std::shared_ptr<ShareBranch::File>;
  auto hung = share.call<File>([&share, gate, opened](int root) -> Result<File> {
    gate->pass();
    MEDIAFS_ASSIGN(Fd fd, open_at(root, "f", O_RDONLY));
    opened->store(fd.get());
    return std::make_shared<ShareBranch::File>(share, std::move(fd));
  });
  CHECK(hung.error().code == ErrorCode::timeout);
  gate->release();
  while (opened->load() < 0 || fcntl(opened->load(), F_GETFD) >= 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(becomes(share, true));
}

TEST_CASE("a look waits for a moment only, and once one is late nobody waits") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::minutes(10)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  auto begun = std::make_shared<std::atomic<int>>(0);
  const auto look = [gate, begun](int) -> Result<int> {
    gate->pass();
    return ++*begun;
  };
  CHECK(share.look<int>(look).error().code == ErrorCode::busy);
  for (int i = 0; i < 100; ++i) CHECK(share.look<int>(look).error().code == ErrorCode::busy);
  CHECK(share.usable());
  CHECK(*share.call<int>([](int) -> Result<int> { return 2; }) == 2);
  gate->release();
  Result<int> answer = share.look<int>(look);
  while (!answer) answer = share.look<int>(look);
  CHECK(*answer == 2);  // the others never began
}

TEST_CASE("a look that hangs makes the share absent though nobody waits for it") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::milliseconds(100)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  const auto before = share.times_back();
  CHECK(share.look<int>([gate](int) -> Result<int> { return gate->pass(), 1; }).error().code ==
        ErrorCode::busy);
  while (share.times_back() == before) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(becomes(share, true));  // the probe does not hang here
  CHECK(*share.look<int>([](int) -> Result<int> { return 3; }) == 3);
  gate->release();
}

TEST_CASE("an interrupted caller does not wait") {
  const test::TempDir dir;
  ShareBranch share({.path = dir.path(), .marker = "", .timeout = std::chrono::minutes(10)});
  REQUIRE(share.wait_until_probed());
  auto gate = std::make_shared<Gate>();
  std::stop_source stop;
  std::thread interrupter([&stop] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop.request_stop();
  });
  auto interrupted = share.call<int>(
      [gate](int) -> Result<int> {
        gate->pass();
        return 1;
      },
      stop.get_token());
  CHECK(interrupted.error().code == ErrorCode::cancelled);
  CHECK(share.usable());
  interrupter.join();
  gate->release();
}
