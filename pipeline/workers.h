// The job queue's workers: for each stage a dispatcher that takes due jobs and a fixed number of threads
// that run them.
// Threads:    add() before start(); wake() and the rest from any thread. Handlers run on the stage's threads.
// Owns:       its threads. Borrows Jobs and Clock.
// Errors:     a handler's error decides what becomes of its job: see retry_plan.
// Crash:      a job whose handler did not end is run again at the next start; handlers are idempotent.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "tier/catalogue/jobs.h"

namespace mediafs::pipeline {

// What follows from a failed try. `attempt` counts from 1 within this process.
struct RetryPlan {
  enum class Next : std::uint8_t {
    done,   // there is nothing left to do
    later,  // again after delay
    dead,   // kept for a person
  } next = Next::later;
  std::int64_t delay_ms = 0;
  bool free_try = false;  // does not count towards kMaxTries: not the job's fault
};
inline constexpr int kMaxTries = 12;
// `jitter` is in [0, 1): full jitter over the back-off, so that many jobs that failed together don't come
// back together.
RetryPlan retry_plan(const Error& error, int tries, int attempt, double jitter);

using Handler = std::function<Status(const tier::Job&, std::stop_token)>;

struct StageStats {
  std::string stage;
  int workers = 0;
  int busy = 0;
  std::uint64_t done = 0, failed = 0;
};

class Workers {
 public:
  Workers(tier::Jobs& jobs, Clock& clock);
  ~Workers();  // stops
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void add(std::string stage, int workers, Handler handler);
  void start();
  // Asks running handlers to stop through their tokens and waits for them. Their jobs stay in the queue.
  void stop();
  void wake(std::string_view stage);  // a job of the stage may be due
  std::vector<StageStats> stats() const;

 private:
  class Stage;
  tier::Jobs& jobs_;
  Clock& clock_;
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace mediafs::pipeline
