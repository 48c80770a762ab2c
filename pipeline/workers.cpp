#include "pipeline/workers.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <random>
#include <thread>
#include <unordered_map>

#include "common/log.h"
#include "common/path.h"
#include "common/sync.h"

namespace mediafs::pipeline {

namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kFirstDelayMs = 500;
constexpr std::int64_t kLongestDelayMs = 30'000;  // a branch that heals is used again within this time
constexpr std::int64_t kPersonDelayMs = 60'000;
constexpr milliseconds kQueueTrouble{1000};  // the catalogue itself failed: wait before asking again

std::int64_t backoff_ms(int attempt, double jitter) {
  const int doublings = std::clamp(attempt - 1, 0, 16);
  const std::int64_t bound = std::min(kLongestDelayMs, kFirstDelayMs << doublings);
  return kFirstDelayMs / 2 + static_cast<std::int64_t>(static_cast<double>(bound) * jitter);
}

}  // namespace

RetryPlan retry_plan(const Error& error, int tries, int attempt, double jitter) {
  using Next = RetryPlan::Next;
  const std::int64_t delay = std::max(backoff_ms(attempt, jitter), error.retry_after_ms);
  switch (error.code) {
    case ErrorCode::changed:
      return {Next::done, 0, true};
    case ErrorCode::offline:
    case ErrorCode::timeout:
    case ErrorCode::throttled:
    case ErrorCode::busy:
    case ErrorCode::cancelled:
    case ErrorCode::no_space:
      return {Next::later, delay, true};
    default:
      break;
  }
  switch (classify(error.code)) {
    case ErrorClass::person:
      return {Next::later, std::max(delay, kPersonDelayMs), true};
    case ErrorClass::permanent:
    case ErrorClass::transient:
      break;
  }
  // A permanent error gets a few tries all the same: what looks permanent is now and then a server's bad
  // hour.
  const int allowed = classify(error.code) == ErrorClass::permanent ? 3 : kMaxTries;
  if (tries + 1 >= allowed) return {Next::dead, 0, false};
  return {Next::later, delay, false};
}

class Workers::Stage {
 public:
  Stage(Workers& owner, std::string name, int workers, Handler handler)
      : owner_(owner), name_(std::move(name)), workers_(std::max(1, workers)), handler_(std::move(handler)) {}

  const std::string& name() const { return name_; }

  void start() {
    dispatcher_ = std::jthread([this](const std::stop_token& stop) { dispatch(stop); });
    for (int i = 0; i < workers_; i++) {
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }

  void ask_to_stop() {
    dispatcher_.request_stop();
    for (auto& t : threads_) t.request_stop();
    MutexLock lock(mutex_);
    stopping_ = true;
    due_.notify_all();
    given_.notify_all();
  }

  void join() {
    if (dispatcher_.joinable()) dispatcher_.join();
    threads_.clear();
  }

  void wake() {
    MutexLock lock(mutex_);
    woken_ = true;
    due_.notify_one();
  }

  StageStats stats() const {
    MutexLock lock(mutex_);
    return {name_, workers_, busy_, done_, failed_};
  }

 private:
  void dispatch(const std::stop_token& stop) noexcept {
    try {
      while (!stop.stop_requested()) {
        const std::size_t idle = wait_for_idle();
        if (stop.stop_requested()) return;
        auto jobs = owner_.jobs_.take(name_, idle);
        if (!jobs) {
          log::error("can't take jobs", jobs.err(), {{"stage", name_}});
          rest(kQueueTrouble);
          continue;
        }
        if (jobs->empty()) {
          wait_until_due();
          continue;
        }
        MutexLock lock(mutex_);
        for (auto& job : *jobs) queue_.push_back(std::move(job));
        given_.notify_all();
      }
    } catch (const std::exception& e) {
      log::error("a stage's dispatcher ended", {{"stage", name_}, {"cause", e.what()}});
    }
  }

  std::size_t wait_for_idle() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (;;) {
      const int taken = busy_ + static_cast<int>(queue_.size());
      if (stopping_) return 0;
      if (taken < workers_) {
        woken_ = false;
        return static_cast<std::size_t>(workers_ - taken);
      }
      due_.wait(mutex_);
    }
  }

  void wait_until_due() EXCLUDES(mutex_) {
    auto due = owner_.jobs_.next_due(name_);
    SteadyTime until = SteadyTime::max();
    if (!due) {
      until = std::chrono::steady_clock::now() + kQueueTrouble;
    } else if (*due) {
      const auto wait = std::chrono::nanoseconds(**due - owner_.clock_.wall_ns());
      until = std::chrono::steady_clock::now() +
              std::max(std::chrono::duration_cast<milliseconds>(wait), milliseconds(1));
    }
    MutexLock lock(mutex_);
    while (!woken_ && !stopping_) {
      if (until == SteadyTime::max()) {
        due_.wait(mutex_);
      } else if (!due_.wait_until(mutex_, until)) {
        return;
      }
    }
  }

  void rest(milliseconds time) EXCLUDES(mutex_) {
    const auto until = std::chrono::steady_clock::now() + time;
    MutexLock lock(mutex_);
    while (!stopping_ && due_.wait_until(mutex_, until)) {
    }
  }

  void work(const std::stop_token& stop) noexcept {
    while (true) {
      tier::Job job;
      {
        MutexLock lock(mutex_);
        while (queue_.empty() && !stopping_) given_.wait(mutex_);
        if (stopping_) return;
        job = std::move(queue_.front());
        queue_.pop_front();
        busy_++;
      }
      try {
        run(job, stop);
      } catch (const std::exception& e) {
        log::error("a job's end could not be noted",
                   {{"stage", name_}, {"job", job.id}, {"cause", e.what()}});
      }
      MutexLock lock(mutex_);
      busy_--;
      due_.notify_one();
    }
  }

  void run(const tier::Job& job, const std::stop_token& stop) {
    Status outcome;
    try {
      outcome = handler_(job, stop);
    } catch (const std::exception& e) {
      outcome = make_error(ErrorCode::internal, name_ + " " + printable(job.path), e.what());
    }
    if (stop.stop_requested() && !outcome)
      return;  // stays running in the catalogue: queued at the next start
    for (;;) {
      const Status noted = outcome ? succeeded(job) : failed(job, outcome.err());
      if (noted || stop.stop_requested()) return;
      // A full disk: the row would stand as running until the next start.
      log::error("can't note a job's end", noted.err(), {{"stage", name_}, {"job", job.id}});
      rest(kQueueTrouble);
    }
  }

  Status succeeded(const tier::Job& job) {
    {
      MutexLock lock(mutex_);
      attempts_.erase(job.id);
      done_++;
    }
    log::debug("job done", {{"stage", name_}, {"job", job.id}, {"path", printable(job.path)}});
    return owner_.jobs_.done(job.id);
  }

  Status failed(const tier::Job& job, const Error& error) {
    int attempt = 0;
    double jitter = 0;
    {
      MutexLock lock(mutex_);
      attempt = ++attempts_[job.id];
      jitter = std::uniform_real_distribution<double>(0, 1)(random_);
    }
    const RetryPlan plan = retry_plan(error, job.tries, attempt, jitter);
    if (plan.next == RetryPlan::Next::later) {
      const auto level = error.code == ErrorCode::busy ? log::Level::debug : log::Level::warning;
      log::write(level, "job failed, it is tried again",
                 {{"stage", name_},
                  {"job", job.id},
                  {"path", printable(job.path)},
                  {"error", error.message()},
                  {"delay_ms", plan.delay_ms}});
      return owner_.jobs_.retry_later(job.id, error, plan.delay_ms, plan.free_try);
    }
    {
      MutexLock lock(mutex_);
      attempts_.erase(job.id);
      (plan.next == RetryPlan::Next::done ? done_ : failed_)++;
    }
    if (plan.next == RetryPlan::Next::done) return owner_.jobs_.done(job.id, error.message());
    log::error("job is dead: mediafs jobs retry runs it again", error,
               {{"stage", name_}, {"job", job.id}, {"path", printable(job.path)}});
    return owner_.jobs_.dead(job.id, error);
  }

  Workers& owner_;
  const std::string name_;
  const int workers_;
  const Handler handler_;
  mutable Mutex mutex_;
  CondVar due_;    // the dispatcher waits
  CondVar given_;  // the workers wait
  std::deque<tier::Job> queue_ GUARDED_BY(mutex_);
  std::unordered_map<std::int64_t, int> attempts_ GUARDED_BY(mutex_);  // of jobs that failed and wait
  std::minstd_rand random_ GUARDED_BY(mutex_){std::random_device{}()};
  int busy_ GUARDED_BY(mutex_) = 0;
  std::uint64_t done_ GUARDED_BY(mutex_) = 0;
  std::uint64_t failed_ GUARDED_BY(mutex_) = 0;
  bool woken_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread dispatcher_;
  std::vector<std::jthread> threads_;
};

Workers::Workers(tier::Jobs& jobs, Clock& clock) : jobs_(jobs), clock_(clock) {}
Workers::~Workers() {
  stop();
}

void Workers::add(std::string stage, int workers, Handler handler) {
  stages_.push_back(std::make_unique<Stage>(*this, std::move(stage), workers, std::move(handler)));
}

void Workers::start() {
  for (auto& stage : stages_) stage->start();
}

void Workers::stop() {
  for (auto& stage : stages_) stage->ask_to_stop();
  for (auto& stage : stages_) stage->join();
}

void Workers::wake(std::string_view stage) {
  for (auto& s : stages_) {
    if (s->name() == stage) s->wake();
  }
}

std::vector<StageStats> Workers::stats() const {
  std::vector<StageStats> out;
  for (const auto& stage : stages_) out.push_back(stage->stats());
  return out;
}

}  // namespace mediafs::pipeline
