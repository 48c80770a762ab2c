#include "pipeline/workers.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tier/catalogue/catalogue.h"

using namespace mediafs;
using namespace mediafs::pipeline;

namespace {

struct Queue {
  Queue() {
    std::string form = std::filesystem::temp_directory_path() / "mediafs-workers-XXXXXX";
    REQUIRE(mkdtemp(form.data()) != nullptr);
    dir = form;
    catalogue = *tier::Catalogue::open({.path = dir + "/c.db"});
  }
  ~Queue() {
    catalogue.reset();
    std::filesystem::remove_all(dir);
  }
  tier::Jobs& jobs() { return catalogue->jobs(); }
  std::size_t count(tier::JobState state) { return jobs().list(state, 1000)->size(); }
  std::string dir;
  std::unique_ptr<tier::Catalogue> catalogue;
};

// A generous bound: only a broken program meets it.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 3000; i++) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace

TEST_CASE("retry_plan: what is nobody's fault is tried for ever, what is broken dies") {
  using Next = RetryPlan::Next;
  for (auto code :
       {ErrorCode::offline, ErrorCode::timeout, ErrorCode::throttled, ErrorCode::busy, ErrorCode::no_space}) {
    const auto plan = retry_plan(make_error(code, "x"), 1000, 1000, 0.5);
    CHECK(plan.next == Next::later);
    CHECK(plan.free_try);
    CHECK(plan.delay_ms <= 31'000);
  }
  CHECK(retry_plan(make_error(ErrorCode::changed, "x"), 0, 1, 0).next == Next::done);
  CHECK(retry_plan(make_error(ErrorCode::credentials, "x"), 100, 100, 0).next == Next::later);
  CHECK(retry_plan(make_error(ErrorCode::io, "x"), 0, 1, 0).next == Next::later);
  CHECK(retry_plan(make_error(ErrorCode::io, "x"), kMaxTries - 1, 1, 0).next == Next::dead);
  CHECK(retry_plan(make_error(ErrorCode::invalid, "x"), 2, 1, 0).next == Next::dead);
  Error throttled = make_error(ErrorCode::throttled, "x");
  throttled.retry_after_ms = 90'000;
  CHECK(retry_plan(throttled, 0, 1, 0).delay_ms >= 90'000);
}

TEST_CASE("every job runs once, by as many workers as were asked for") {
  Queue q;
  std::vector<tier::JobSpec> specs;
  for (int i = 0; i < 200; i++) specs.push_back({.stage = "s", .path = std::to_string(i)});
  REQUIRE(q.jobs().enqueue(specs));
  std::atomic<int> ran{0}, at_once{0}, most{0};
  Workers workers(q.jobs(), Clock::system());
  workers.add("s", 4, [&](const tier::Job&, std::stop_token) -> Status {
    const int now = ++at_once;
    int seen = most.load();
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --at_once;
    ++ran;
    return {};
  });
  workers.start();
  CHECK(eventually([&] { return q.count(tier::JobState::done) == 200; }));
  workers.stop();
  CHECK(ran == 200);
  CHECK(most <= 4);
}

TEST_CASE("a job that fails is tried again, one that can't succeed is dead") {
  Queue q;
  REQUIRE(q.jobs().enqueue(tier::JobSpec{.stage = "s", .path = "flaky"}));
  REQUIRE(q.jobs().enqueue(tier::JobSpec{.stage = "s", .path = "broken"}));
  std::atomic<int> flaky{0};
  Workers workers(q.jobs(), Clock::system());
  workers.add("s", 2, [&](const tier::Job& job, std::stop_token) -> Status {
    if (job.path == "broken") return make_error(ErrorCode::invalid, "broken", "for good");
    if (++flaky < 3) return make_error(ErrorCode::busy, "flaky");
    return {};
  });
  workers.start();
  CHECK(eventually([&] { return q.count(tier::JobState::done) == 1 && q.count(tier::JobState::dead) == 1; }));
  workers.stop();
  CHECK(flaky == 3);
}

TEST_CASE("a handler's exception is its job's error, not the program's end") {
  Queue q;
  REQUIRE(q.jobs().enqueue(tier::JobSpec{.stage = "s", .path = "x"}));
  std::atomic<int> tries{0};
  Workers workers(q.jobs(), Clock::system());
  workers.add("s", 1, [&](const tier::Job&, std::stop_token) -> Status {
    if (++tries == 1) throw std::runtime_error("thrown");
    return {};
  });
  workers.start();
  CHECK(eventually([&] { return q.count(tier::JobState::done) == 1; }));
  CHECK(tries == 2);
}

TEST_CASE("stop ends what runs through its token, and the job stays queued for the next start") {
  Queue q;
  REQUIRE(q.jobs().enqueue(tier::JobSpec{.stage = "s", .path = "long"}));
  std::atomic<bool> running{false};
  {
    Workers workers(q.jobs(), Clock::system());
    workers.add("s", 1, [&](const tier::Job&, std::stop_token stop) -> Status {
      running = true;
      while (!stop.stop_requested()) std::this_thread::yield();
      return make_error(ErrorCode::cancelled, "long");
    });
    workers.start();
    CHECK(eventually([&] { return running.load(); }));
  }
  q.catalogue.reset();
  q.catalogue = *tier::Catalogue::open({.path = q.dir + "/c.db"});
  CHECK(q.count(tier::JobState::queued) == 1);
}
