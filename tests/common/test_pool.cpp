#include <doctest/doctest.h>
#include <pthread.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <string>

#include "common/log.h"
#include "common/pool.h"
#include "temp_dir.h"

using namespace mediafs;

TEST_CASE("pool: runs everything that it took, also while it ends") {
  std::atomic<int> ran{0};
  {
    Pool pool({.name = "p", .threads = 3, .queue_limit = 1000});
    for (int i = 0; i < 500; ++i) REQUIRE(pool.submit([&ran] { ++ran; }));
  }
  CHECK(ran == 500);
}

TEST_CASE("pool: answers busy when the queue is full, and takes again later") {
  std::latch started(1);
  std::latch go(1);
  std::atomic<int> ran{0};
  {
    Pool pool({.name = "p", .threads = 1, .queue_limit = 2});
    REQUIRE(pool.submit([&] {
      started.count_down();
      go.wait();
    }));
    started.wait();
    REQUIRE(pool.submit([&ran] { ++ran; }));
    REQUIRE(pool.submit([&ran] { ++ran; }));
    CHECK(pool.waiting() == 2);
    const auto full = pool.submit([&ran] { ran += 100; });
    go.count_down();
    REQUIRE(!full);
    CHECK(full.err().code == ErrorCode::busy);
  }
  CHECK(ran == 2);
}

TEST_CASE("pool: a task that throws costs its line in the log, not the pool") {
  const test::TempDir dir;
  log::setup({.level = log::Level::info, .file = dir / "log"});
  std::atomic<int> ran{0};
  {
    Pool pool({.name = "thrower", .threads = 1, .queue_limit = 10});
    REQUIRE(pool.submit([] { throw std::runtime_error("broken task"); }));
    REQUIRE(pool.submit([&ran] { ++ran; }));
  }
  log::setup({});
  CHECK(ran == 1);
  const std::string text = test::get(dir / "log");
  CHECK(text.find("broken task") != std::string::npos);
  CHECK(text.find("thrower") != std::string::npos);
}

TEST_CASE("pool: threads bear its name, cut to what the system takes") {
  std::string seen;
  {
    Pool pool({.name = "a-name-longer-than-the-limit", .threads = 1, .queue_limit = 1});
    REQUIRE(pool.submit([&seen] {
      char name[32] = {};
      ::pthread_getname_np(::pthread_self(), name, sizeof name);
      seen = name;
    }));
  }
  CHECK(seen == "a-name-longer-t");
}
