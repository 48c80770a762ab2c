#include "tier/claims.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace mediafs::tier {

using namespace std::chrono_literals;

TEST_CASE("claims on one path, above it and below it exclude each other") {
  Claims claims;
  auto held = claims.claim("a/b");
  REQUIRE(held);
  for (const char* path : {"a/b", "a", "a/b/c", ""}) {
    const auto refused = claims.claim({path}, 0ms);
    REQUIRE_FALSE(refused);
    CHECK(refused.err().code == ErrorCode::busy);
    CHECK(refused.err().what == path);
  }
  for (const char* path : {"a/bc", "b", "a/a"}) CHECK(claims.claim({path}, 0ms));
  held->release();
  CHECK(claims.claim({"a/b/c"}, 0ms));
}

TEST_CASE("a claim of several paths holds all or none") {
  Claims claims;
  auto one = claims.claim("b");
  REQUIRE(one);
  CHECK_FALSE(claims.claim({"a", "b"}, 0ms));
  auto other = claims.claim({"a"}, 0ms);
  CHECK(other);
  one->release();
  CHECK_FALSE(claims.claim({"b", "a"}, 0ms));
  other->release();
  CHECK(claims.claim({"b", "a"}, 0ms));
}

TEST_CASE("keys are a space of their own") {
  Claims claims;
  auto root = claims.claim("");
  REQUIRE(root);
  auto key = claims.claim({Claims::key_claim("a")}, 0ms);
  CHECK(key);
  CHECK_FALSE(claims.claim({Claims::key_claim("a")}, 0ms));
  CHECK(claims.claim({Claims::key_claim("b")}, 0ms));
}

TEST_CASE("a moved claim is released once") {
  Claims claims;
  Claims::Claim outer;
  {
    auto inner = claims.claim("a");
    REQUIRE(inner);
    outer = std::move(*inner);
  }
  CHECK_FALSE(claims.claim({"a"}, 0ms));
  outer = Claims::Claim();
  CHECK(claims.claim({"a"}, 0ms));
}

TEST_CASE("a waiter gets the path when it is released") {
  Claims claims;
  auto held = claims.claim("a");
  REQUIRE(held);
  std::atomic<bool> got{false};
  std::thread waiter([&] { got = claims.claim(std::vector<std::string>{"a/b"}, 60s).has_value(); });
  held->release();
  waiter.join();
  CHECK(got);
}

TEST_CASE("one holder at a time under load") {
  Claims claims;
  std::atomic<int> holders{0};
  std::atomic<int> most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto claim = claims.claim(std::vector<std::string>{t % 2 == 0 ? "d" : "d/x"}, 60s);
        if (!claim) continue;
        const int now = ++holders;
        if (now > most) most = now;
        --holders;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(most == 1);
}

}  // namespace mediafs::tier
