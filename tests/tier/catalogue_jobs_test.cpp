#include <set>
#include <thread>

#include "catalogue_fixture.h"

namespace mediafs::tier {

namespace {

JobSpec spec(std::string stage, std::string path, int priority = 0, std::int64_t delay_ms = 0) {
  JobSpec s;
  s.stage = std::move(stage);
  s.path = std::move(path);
  s.priority = priority;
  s.delay_ms = delay_ms;
  return s;
}

Error trouble() {
  return make_error(ErrorCode::offline, "put a", "no route");
}

}  // namespace

TEST_CASE_FIXTURE(CatalogueFixture, "jobs run by priority, then age, each taken once") {
  REQUIRE(jobs().enqueue({spec("hook", "a"), spec("hook", "b", 5), spec("hook", "c"), spec("other", "d")}));
  const auto first = *jobs().take("hook", 2);
  REQUIRE(first.size() == 2);
  CHECK(first[0].path == "b");
  CHECK(first[1].path == "a");
  CHECK(first[0].state == JobState::running);
  CHECK(jobs().take("hook", 10)->size() == 1);
  CHECK(jobs().take("hook", 10)->empty());
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "equal jobs coalesce, and one that arrives during the run makes another run") {
  REQUIRE(jobs().enqueue(spec("hook", "a")));
  REQUIRE(jobs().enqueue(spec("hook", "a", 3)));
  CHECK(job_count("hook") == 1);
  auto taken = *jobs().take("hook", 10);
  REQUIRE(taken.size() == 1);
  CHECK(taken[0].priority == 3);
  REQUIRE(jobs().enqueue(spec("hook", "a")));
  CHECK(job_count("hook") == 0);
  REQUIRE(jobs().done(taken[0].id));
  taken = *jobs().take("hook", 10);
  REQUIRE(taken.size() == 1);
  REQUIRE(jobs().done(taken[0].id, "filed"));
  CHECK(jobs().take("hook", 10)->empty());
  CHECK(jobs().show(taken[0].id)->state == JobState::done);
  CHECK(jobs().show(taken[0].id)->error == "filed");
  REQUIRE(jobs().enqueue(spec("hook", "a")));  // a finished one is no obstacle
  CHECK(job_count("hook") == 1);
}

TEST_CASE_FIXTURE(CatalogueFixture, "files, generations and stages make jobs of their own") {
  JobSpec s = spec("hook", "a");
  REQUIRE(jobs().enqueue(s));
  s.file_id = 4;
  REQUIRE(jobs().enqueue(s));
  s.generation = 2;
  REQUIRE(jobs().enqueue(s));
  CHECK(job_count("hook") == 3);
}

TEST_CASE_FIXTURE(CatalogueFixture, "delays and back-off") {
  REQUIRE(jobs().enqueue(spec("hook", "a", 0, 2000)));
  CHECK(jobs().take("hook", 1)->empty());
  CHECK(**jobs().next_due("hook") == clock.wall_ns() + 2'000'000'000);
  CHECK((*jobs().counts())[0].waiting == 1);
  clock.advance(std::chrono::seconds(2));
  auto job = jobs().take("hook", 1)->at(0);
  CHECK_FALSE(*jobs().next_due("hook"));
  REQUIRE(jobs().retry_later(job.id, trouble(), 500, false));
  job = *jobs().show(job.id);
  CHECK(job.tries == 1);
  CHECK(job.error == "put a: no route");
  CHECK(job.error_code == "offline");
  REQUIRE(jobs().enqueue(spec("hook", "a")));  // asking again does not shorten a back-off
  CHECK(jobs().take("hook", 1)->empty());
  clock.advance(std::chrono::milliseconds(500));
  REQUIRE(jobs().take("hook", 1)->size() == 1);
  REQUIRE(jobs().retry_later(job.id, trouble(), 0, true));
  CHECK(jobs().show(job.id)->tries == 1);
}

TEST_CASE_FIXTURE(CatalogueFixture, "dead jobs stay, are shown, and live again when asked") {
  REQUIRE(jobs().enqueue({spec("hook", "a"), spec("hook", "b")}));
  for (const Job& job : got(jobs().take("hook", 2))) REQUIRE(jobs().dead(job.id, trouble()));
  CHECK(jobs().list(JobState::dead, 10)->size() == 2);
  CHECK(jobs().take("hook", 2)->empty());
  CHECK((*jobs().counts())[0].dead == 2);
  REQUIRE(jobs().enqueue(spec("hook", "a")));
  const auto again = *jobs().take("hook", 2);
  REQUIRE(again.size() == 1);
  CHECK(again[0].path == "a");
  CHECK(again[0].tries == 0);
  REQUIRE(jobs().dead(again[0].id, trouble()));
  CHECK(*jobs().retry_dead() == 2);
  CHECK(jobs().take("hook", 9)->size() == 2);
}

TEST_CASE_FIXTURE(CatalogueFixture, "retry, drop, and ids that are not there") {
  REQUIRE(jobs().enqueue(spec("hook", "a", 0, 60'000)));
  const std::int64_t id = jobs().list(std::nullopt, 1)->at(0).id;
  REQUIRE(jobs().retry(id));
  REQUIRE(jobs().take("hook", 1)->size() == 1);
  REQUIRE(jobs().retry(id));  // while it runs
  REQUIRE(jobs().done(id));
  REQUIRE(jobs().take("hook", 1)->size() == 1);
  REQUIRE(jobs().drop(id));
  for (const Status& status : {jobs().done(id), jobs().drop(id), jobs().retry(id), jobs().dead(id, trouble()),
                               jobs().retry_later(id, trouble(), 0, false)}) {
    REQUIRE_FALSE(status);
    CHECK(status.err().code == ErrorCode::not_found);
  }
  CHECK(jobs().show(id).err().code == ErrorCode::not_found);
}

TEST_CASE_FIXTURE(CatalogueFixture, "pauses are durable, of one stage or of all") {
  REQUIRE(jobs().enqueue({spec("hook", "a"), spec("upload", "b")}));
  REQUIRE(jobs().pause("hook", true));
  reopen();
  CHECK(jobs().take("hook", 1)->empty());
  CHECK_FALSE(*jobs().next_due("hook"));
  CHECK(jobs().take("upload", 1)->size() == 1);
  REQUIRE(jobs().enqueue(spec("upload", "c")));
  REQUIRE(jobs().pause("", true));
  CHECK(jobs().take("upload", 1)->empty());
  for (const auto& count : got(jobs().counts())) CHECK(count.paused);
  REQUIRE(jobs().pause("upload", false));
  CHECK(jobs().take("upload", 1)->size() == 1);
  CHECK(jobs().take("hook", 1)->empty());
  REQUIRE(jobs().pause("", false));
  CHECK(jobs().take("hook", 1)->size() == 1);
  for (const auto& count : got(jobs().counts())) CHECK_FALSE(count.paused);
}

TEST_CASE_FIXTURE(CatalogueFixture, "what ran when the process died is queued again") {
  REQUIRE(jobs().enqueue(spec("hook", "a")));
  const auto id = jobs().take("hook", 1)->at(0).id;
  reopen();
  const auto again = *jobs().take("hook", 1);
  REQUIRE(again.size() == 1);
  CHECK(again[0].id == id);
}

TEST_CASE_FIXTURE(CatalogueFixture, "finished jobs are kept up to a thousand, the newest") {
  for (int round = 0; round < 6; ++round) {
    std::vector<JobSpec> specs;
    for (int i = 0; i < 200; ++i) specs.push_back(spec("hook", std::to_string(round * 1000 + i)));
    REQUIRE(jobs().enqueue(specs));
    for (const Job& job : got(jobs().take("hook", 200))) REQUIRE(jobs().done(job.id));
    clock.advance(std::chrono::seconds(1));
  }
  const auto kept = *jobs().list(JobState::done, 5000);
  CHECK(kept.size() <= 1000);
  CHECK(kept.size() > 900);
  CHECK(kept.front().path == "5199");
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "eight threads: writes are read back, versions have no gaps, no job is taken twice") {
  constexpr int kThreads = 8;
  constexpr int kFiles = 30;
  std::atomic<int> failures{0};
  std::vector<std::set<std::int64_t>> taken(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kFiles; ++i) {
        const std::string path =
            "d" + std::to_string(i % 3) + "/" + std::to_string(t) + "-" + std::to_string(i);
        const auto inode = static_cast<std::uint64_t>(1000 * (t + 1) + i);
        const auto done =
            cat().adopt({path, file_stat(inode, 5, 10), true}, [](const std::string&) { return true; });
        const auto found = cat().find(path);
        if (!done || *done != Adopted::added || !found || !*found) ++failures;
        // One that fails must not take its group with it.
        if (cat().rename({path, path + "/x", std::nullopt, true, true})) ++failures;
        if (i % 5 == 0) cat().opened((*found)->id, 5);
        const auto some = jobs().take("checksum", 2);
        if (!some) {
          ++failures;
          continue;
        }
        for (const Job& job : *some) taken[static_cast<std::size_t>(t)].insert(job.id);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(cat().version() == kThreads * kFiles);
  const auto log = *cat().changes(0, 10'000, false);
  REQUIRE(log.size() == kThreads * kFiles);
  for (std::size_t i = 0; i < log.size(); ++i) CHECK(log[i].version == static_cast<std::int64_t>(i + 1));
  std::set<std::int64_t> all;
  std::size_t sum = 0;
  for (const auto& ids : taken) {
    sum += ids.size();
    all.insert(ids.begin(), ids.end());
  }
  CHECK(all.size() == sum);
  close();
  CHECK(std::is_sorted(told_versions.begin(), told_versions.end()));
  CHECK(told_versions.back() == kThreads * kFiles);
}

TEST_CASE_FIXTURE(CatalogueFixture,
                  "what waited for something that is back is due at once, and nothing else") {
  for (const char* path : {"away", "slow"}) REQUIRE(jobs().enqueue(spec("upload", path)));
  REQUIRE(jobs().enqueue(spec("other", "away")));
  for (const char* stage : {"upload", "other"}) {
    const auto taken = *jobs().take(stage, 10);
    for (const Job& job : taken) {
      const ErrorCode code = job.path == "away" ? ErrorCode::busy : ErrorCode::throttled;
      REQUIRE(jobs().retry_later(job.id, make_error(code, "x"), 1'000'000, true));
    }
  }
  CHECK(jobs().take("upload", 10)->empty());
  REQUIRE(jobs().hasten("upload"));
  const auto due = jobs().take("upload", 10);
  REQUIRE(due->size() == 1);
  CHECK(due->at(0).path == "away");
  CHECK(jobs().take("other", 10)->empty());
}

}  // namespace mediafs::tier
