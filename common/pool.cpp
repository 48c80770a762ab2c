#include "common/pool.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "common/log.h"

namespace mediafs {

namespace {

void run_task(const Pool::Task& task, const std::string& pool) noexcept {
  try {
    task();
  } catch (const std::exception& e) {
    log::error("task failed", {{"pool", pool}, {"error", e.what()}});
  } catch (...) {
    log::error("task failed", {{"pool", pool}, {"error", "unknown exception"}});
  }
}

}  // namespace

Pool::Pool(Options options) : options_(std::move(options)) {
  const std::size_t count = std::max<std::size_t>(options_.threads, 1);
  threads_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    threads_.emplace_back([this] { run(); });
  }
}

Pool::~Pool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  threads_.clear();
}

Status Pool::submit(Task task) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return make_error(ErrorCode::cancelled, "pool " + options_.name, "it is stopping");
    if (tasks_.size() >= options_.queue_limit) {
      return make_error(ErrorCode::busy, "pool " + options_.name,
                        std::to_string(tasks_.size()) + " tasks wait already");
    }
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
  return {};
}

std::size_t Pool::waiting() const {
  MutexLock lock(mutex_);
  return tasks_.size();
}

void Pool::run() {
  if (!options_.name.empty()) {
    ::pthread_setname_np(::pthread_self(), options_.name.substr(0, 15).c_str());
  }
  for (;;) {
    Task task;
    {
      MutexLock lock(mutex_);
      while (tasks_.empty() && !stopping_) wake_.wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    run_task(task, options_.name);
  }
}

}  // namespace mediafs
