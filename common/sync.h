// The one mutex type, annotated for clang's -Wthread-safety, and its condition variable.
// Threads:    that is what it is for. Lock order: common/LOCKS.md.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define MEDIAFS_TSA(x) __attribute__((x))
#else
#define MEDIAFS_TSA(x)
#endif
#define CAPABILITY(x) MEDIAFS_TSA(capability(x))
#define SCOPED_CAPABILITY MEDIAFS_TSA(scoped_lockable)
#define GUARDED_BY(x) MEDIAFS_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) MEDIAFS_TSA(pt_guarded_by(x))
#define REQUIRES(...) MEDIAFS_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) MEDIAFS_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) MEDIAFS_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) MEDIAFS_TSA(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) MEDIAFS_TSA(try_acquire_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS MEDIAFS_TSA(no_thread_safety_analysis)

namespace mediafs {

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  // For dropping the lock around I/O, a callback or a reply.
  void unlock() RELEASE() {
    held_ = false;
    mutex_.unlock();
  }
  void lock() ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

class CondVar {
 public:
  void notify_one() noexcept { cv_.notify_one(); }
  void notify_all() noexcept { cv_.notify_all(); }
  // Spurious wake-ups happen: call in a loop over the condition.
  void wait(Mutex& mutex) REQUIRES(mutex) { cv_.wait(mutex); }
  // Returns false when the deadline passed.
  bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    return cv_.wait_until(mutex, deadline) == std::cv_status::no_timeout;
  }
  bool wait_for(Mutex& mutex, std::chrono::milliseconds time) REQUIRES(mutex) {
    return wait_until(mutex, std::chrono::steady_clock::now() + time);
  }

 private:
  std::condition_variable_any cv_;
};

}  // namespace mediafs
